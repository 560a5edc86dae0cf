#include "images/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>

#include "tests/images/encode.h"

namespace pixelbert::images {
namespace {

using test::Bytes;
using test::gradient;
using ::testing::HasSubstr;

Bytes decoded(const Bytes& encoded) {
  const Size size = probe(encoded);
  Bytes rgb(static_cast<std::size_t>(3 * size.height * size.width));
  decode_into(encoded, size, rgb.data());
  return rgb;
}

int largest_difference(const Bytes& a, const Bytes& b) {
  EXPECT_EQ(a.size(), b.size());
  int largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(int{a[i]} - int{b[i]}));
  return largest;
}

// Each value three times.
Bytes replicated(const Bytes& grey) {
  Bytes rgb;
  for (const std::uint8_t value : grey) rgb.insert(rgb.end(), 3, value);
  return rgb;
}

void expect_bad(const Bytes& bytes, const std::string& reason, const std::string& message) {
  try {
    decoded(bytes);
    ADD_FAILURE() << "decoded, expected " << reason;
  } catch (const BadImage& bad) {
    EXPECT_EQ(bad.reason, reason);
    EXPECT_THAT(bad.what(), HasSubstr(message));
  }
}

// --- JPEG ---

TEST(Jpeg, GivesThePixelsThatWentIn) {
  const Bytes pixels = gradient(48, 64, 3);
  const Bytes encoded = test::jpeg(pixels, 48, 64);
  EXPECT_EQ(probe(encoded), (Size{48, 64}));
  EXPECT_LE(largest_difference(decoded(encoded), pixels), 4);  // quality 95
}

TEST(Jpeg, ProgressiveIsTheSameImage) {
  const Bytes pixels = gradient(48, 64, 3);
  EXPECT_EQ(decoded(test::jpeg(pixels, 48, 64, {TJPF_RGB, TJSAMP_444, TJFLAG_PROGRESSIVE})),
            decoded(test::jpeg(pixels, 48, 64)));
}

TEST(Jpeg, GreyIsReplicated) {
  const Bytes pixels = gradient(40, 30, 1);
  const Bytes rgb = decoded(test::jpeg(pixels, 40, 30, {TJPF_GRAY, TJSAMP_GRAY}));
  EXPECT_LE(largest_difference(rgb, replicated(pixels)), 4);
  for (std::size_t i = 0; i < rgb.size(); i += 3) ASSERT_TRUE(rgb[i] == rgb[i + 1] && rgb[i] == rgb[i + 2]);
}

TEST(Jpeg, CmykIsReadInvertedAsAdobeWritesIt) {
  // Stored 255 - ink. No ink is white; full black is black whatever the rest; cyan removes the red.
  const struct {
    std::uint8_t stored[4];
    std::uint8_t rgb[3];
  } cases[] = {{{255, 255, 255, 255}, {255, 255, 255}},
               {{255, 255, 255, 0}, {0, 0, 0}},
               {{0, 255, 255, 255}, {0, 255, 255}},
               {{255, 0, 255, 255}, {255, 0, 255}},
               {{255, 255, 0, 128}, {128, 128, 0}}};
  for (const auto& [stored, rgb] : cases) {
    Bytes pixels, expected;
    for (int i = 0; i < 16 * 16; ++i) {
      pixels.insert(pixels.end(), stored, stored + 4);
      expected.insert(expected.end(), rgb, rgb + 3);
    }
    EXPECT_LE(largest_difference(decoded(test::jpeg(pixels, 16, 16, {TJPF_CMYK, TJSAMP_444})), expected), 3);
  }
}

TEST(Jpeg, OfAnyShape) {
  for (const Size size : {Size{1, 1}, Size{1, 17}, Size{10, 20000}, Size{20000, 10}}) {
    const int height = static_cast<int>(size.height), width = static_cast<int>(size.width);
    const Bytes encoded = test::jpeg(gradient(height, width, 3), height, width, {TJPF_RGB, TJSAMP_420});
    EXPECT_EQ(probe(encoded), size);
    EXPECT_EQ(decoded(encoded).size(), static_cast<std::size_t>(3 * height * width));
  }
}

TEST(Jpeg, CutShortIsTruncated) {
  const Bytes whole = test::jpeg(gradient(64, 64, 3), 64, 64);
  for (const std::size_t keep : {whole.size() - 2, whole.size() * 3 / 4, whole.size() / 2}) {
    Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(keep));
    expect_bad(cut, "truncated", fmt::format("cut short after {} bytes", keep));
  }
  expect_bad(Bytes(whole.begin(), whole.begin() + 20), "truncated", "cut short after 20 bytes");
}

TEST(Jpeg, WithAFatalErrorBehindAWarningIsCorrupt) {
  expect_bad(test::fatal_error_behind_a_warning(gradient(64, 64, 3), 64, 64), "corrupt",
             "Unsupported marker type 0xf6");
}

TEST(Jpeg, WithAFatalErrorBehindItsLastRowIsCorrupt) {
  Bytes bytes = test::jpeg(gradient(64, 64, 3), 64, 64);
  bytes.insert(bytes.end() - 2, {0xFF, 0xF6});
  expect_bad(bytes, "corrupt", "Unsupported marker type 0xf6");
}

TEST(Jpeg, CutShortBehindABadCodeIsTruncated) {
  // libjpeg reports only the first warning.
  Bytes cut = test::jpeg(gradient(64, 64, 3), 64, 64);
  cut.resize(cut.size() * 3 / 4);
  const std::array<std::uint8_t, 2> scan = {0xFF, 0xDA};
  auto spoiled = std::search(cut.begin(), cut.end(), scan.begin(), scan.end()) + 30;
  for (int i = 0; i < 40; ++i) *spoiled++ = 0xFE;
  expect_bad(cut, "truncated", "cut short");
}

TEST(Jpeg, WithBytesAfterItsEndIsTaken) {
  Bytes bytes = test::jpeg(gradient(16, 16, 3), 16, 16);
  const Bytes clean = decoded(bytes);
  bytes.insert(bytes.end(), 1000, 0);
  EXPECT_EQ(decoded(bytes), clean);
}

TEST(Jpeg, ClaimingMorePixelsThanAnyoneNeedsIsRefusedBeforeDecoding) {
  expect_bad(test::claiming(test::jpeg(gradient(16, 16, 3), 16, 16), 60000, 60000), "too-large",
             "60000 x 60000 pixels: expected at most 178 million");
}

TEST(Jpeg, ClaimingMorePixelsThanItsBytesCanHoldIsTruncated) {
  for (const int flags : {0, TJFLAG_PROGRESSIVE}) {
    const Bytes bytes = test::jpeg(gradient(16, 16, 3), 16, 16, {TJPF_RGB, TJSAMP_420, flags});
    expect_bad(test::claiming(bytes, 13300, 13300), "truncated",
               fmt::format("13300 x 13300 pixels in {} bytes: expected at least 518752 bytes", bytes.size()));
  }
}

TEST(Jpeg, OfOneColourHoldsMorePixelsThanAnyOther) {
  const Bytes grey = test::jpeg(Bytes(2000 * 3000, 77), 2000, 3000, {TJPF_GRAY, TJSAMP_GRAY, TJFLAG_PROGRESSIVE});
  EXPECT_LT(grey.size(), 2000 * 3000 / 250);
  EXPECT_EQ(decoded(grey), Bytes(3 * 2000 * 3000, 77));
}

TEST(Jpeg, InSeveralScansThatWouldTakeTooMuchMemoryIsTooLarge) {
  Bytes bytes = test::jpeg(gradient(16, 16, 3), 16, 16, {TJPF_RGB, TJSAMP_444, TJFLAG_PROGRESSIVE});
  bytes.resize(2'000'000);  // enough bytes for what it claims
  bytes = test::claiming(bytes, 13300, 13300);
  const Size size = probe(bytes);
  const auto rgb =
      std::make_unique_for_overwrite<std::uint8_t[]>(static_cast<std::size_t>(3 * size.height * size.width));
  try {
    decode_into(bytes, size, rgb.get());
    ADD_FAILURE() << "decoded, expected too-large";
  } catch (const BadImage& bad) {
    EXPECT_EQ(bad.reason, "too-large");
    EXPECT_THAT(bad.what(), HasSubstr("13300 x 13300 pixels in several scans"));
  }
}

TEST(Jpeg, OfThousandsOfScansIsCorrupt) {
  Bytes bytes = test::jpeg(gradient(64, 64, 3), 64, 64, {TJPF_RGB, TJSAMP_444, TJFLAG_PROGRESSIVE});
  const Bytes marker = {0xFF, 0xDA};
  const auto last = std::find_end(bytes.begin(), bytes.end(), marker.begin(), marker.end());
  const Bytes scan(last, bytes.end() - 2);
  for (int i = 0; i < 2000; ++i) bytes.insert(bytes.end() - 2, scan.begin(), scan.end());
  expect_bad(bytes, "corrupt", "more than 500 scans of 64 x 64 pixels");
}

// --- PNG ---

TEST(Png, GivesThePixelsThatWentIn) {
  const Bytes pixels = gradient(31, 45, 3);
  for (const bool interlaced : {false, true}) {
    const Bytes encoded = test::png(pixels, 31, 45, {.interlaced = interlaced, .palette = {}});
    EXPECT_EQ(probe(encoded), (Size{31, 45}));
    EXPECT_EQ(decoded(encoded), pixels);
  }
}

TEST(Png, IgnoresGamma) {
  const Bytes pixels = gradient(8, 8, 3);
  EXPECT_EQ(decoded(test::png(pixels, 8, 8, {.gamma = true, .palette = {}})), pixels);
}

TEST(Png, DropsAlphaAndKeepsTheColourBeneath) {
  Bytes rgba, expected;
  for (int i = 0; i < 6 * 7; ++i) {
    const auto value = static_cast<std::uint8_t>(5 * i);
    rgba.insert(rgba.end(), {value, 10, 200, static_cast<std::uint8_t>(i)});
    expected.insert(expected.end(), {value, 10, 200});
  }
  EXPECT_EQ(decoded(test::png(rgba, 6, 7, {.colour_type = PNG_COLOR_TYPE_RGBA, .palette = {}})), expected);

  const Bytes grey_alpha = {10, 0, 20, 255};
  EXPECT_EQ(decoded(test::png(grey_alpha, 1, 2, {.colour_type = PNG_COLOR_TYPE_GRAY_ALPHA, .palette = {}})),
            replicated({10, 20}));
}

TEST(Png, GreyOfEveryDepthFillsTheRange) {
  const auto grey = [](int depth, Bytes row, int width) {
    return decoded(test::png(row, 1, width, {.colour_type = PNG_COLOR_TYPE_GRAY, .depth = depth, .palette = {}}));
  };
  EXPECT_EQ(grey(1, {0b10100000}, 3), replicated({255, 0, 255}));
  EXPECT_EQ(grey(2, {0b00011011}, 4), replicated({0, 85, 170, 255}));
  EXPECT_EQ(grey(4, {0x0f}, 2), replicated({0, 255}));
  EXPECT_EQ(grey(8, {7, 9}, 2), replicated({7, 9}));
  EXPECT_EQ(grey(16, {7, 255, 9, 1}, 2), replicated({7, 9}));
}

TEST(Png, SixteenBitColourKeepsTheHighByte) {
  const Bytes row = {1, 200, 2, 200, 3, 200};
  EXPECT_EQ(decoded(test::png(row, 1, 1, {.depth = 16, .palette = {}})), (Bytes{1, 2, 3}));
}

TEST(Png, LooksUpItsPalette) {
  const std::vector<png_color> palette = {{10, 20, 30}, {40, 50, 60}, {70, 80, 90}};
  const test::PngOptions options{.colour_type = PNG_COLOR_TYPE_PALETTE, .palette = palette};
  EXPECT_EQ(decoded(test::png({2, 0, 1}, 1, 3, options)), (Bytes{70, 80, 90, 10, 20, 30, 40, 50, 60}));
}

TEST(Png, OfAnyShape) {
  for (const Size size : {Size{1, 1}, Size{10, 20000}, Size{20000, 10}}) {
    const int height = static_cast<int>(size.height), width = static_cast<int>(size.width);
    const Bytes pixels = gradient(height, width, 3);
    EXPECT_EQ(decoded(test::png(pixels, height, width)), pixels);
  }
}

TEST(Png, CutShortIsTruncated) {
  const Bytes whole = test::png(gradient(64, 64, 3), 64, 64);
  for (const std::size_t keep : {whole.size() - 2, whole.size() / 2, std::size_t{20}}) {
    expect_bad(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(keep)), "truncated", "cut short");
  }
}

TEST(Png, DamagedIsCorrupt) {
  Bytes bytes = test::png(gradient(64, 64, 3), 64, 64);
  bytes[bytes.size() / 2] ^= 0xff;
  expect_bad(bytes, "corrupt", "does not decode");
}

// Only its header says so; the data are those of a smaller one.
Bytes claiming(Bytes png, std::uint32_t height, std::uint32_t width) {
  const auto store = [&](std::size_t at, std::uint32_t value) {
    for (int i = 0; i < 4; ++i) png[at + i] = static_cast<std::uint8_t>(value >> (24 - 8 * i));
  };
  store(16, width);
  store(20, height);
  store(29, static_cast<std::uint32_t>(crc32(0, &png[12], 17)));  // of the name and the content
  return png;
}

TEST(Png, ClaimingMorePixelsThanItsBytesCanHoldIsTruncated) {
  const Bytes bytes = claiming(test::png(gradient(16, 16, 3), 16, 16), 10000, 10000);
  expect_bad(bytes, "truncated",
             fmt::format("10000 x 10000 pixels in {} bytes: expected at least 290697 bytes", bytes.size()));
}

TEST(Png, TooWideIsRefusedWithItsReason) {
  expect_bad(claiming(test::png(gradient(16, 16, 3), 16, 16), 16, 1'000'001), "corrupt",
             "Image width exceeds user limit");
}

TEST(Png, OfOneColourHoldsMorePixelsThanAnyOther) {
  const Bytes pixels(3 * 2000 * 3000, 0);
  const Bytes encoded = test::png(pixels, 2000, 3000);
  EXPECT_LT(encoded.size(), pixels.size() / 900);
  EXPECT_EQ(decoded(encoded), pixels);
}

TEST(Png, WithAWrongChecksumBeforeItsPixelsIsCorrupt) {
  Bytes bytes = test::png(gradient(8, 8, 3), 8, 8, {.gamma = true, .palette = {}});
  const Bytes name = {'g', 'A', 'M', 'A'};
  const auto gamma = std::search(bytes.begin(), bytes.end(), name.begin(), name.end());
  ASSERT_NE(gamma, bytes.end());
  gamma[5] ^= 1;
  expect_bad(bytes, "corrupt", "gAMA: CRC error");
}

TEST(Png, ClaimingMorePixelsThanAnyoneNeedsIsRefusedBeforeDecoding) {
  // One bit per pixel, all zero: about 31 KB for 250 million pixels.
  const Bytes encoded = test::png(Bytes(16'000 * 2'000, 0), 16'000, 16'000,
                                  {.colour_type = PNG_COLOR_TYPE_GRAY, .depth = 1, .palette = {}});
  expect_bad(encoded, "too-large", "16000 x 16000 pixels");
}

// --- neither ---

TEST(Codec, NamesWhatItDoesNotRead) {
  const auto bytes = [](std::string_view text) { return Bytes(text.begin(), text.end()); };
  expect_bad({}, "empty", "zero bytes");
  expect_bad(bytes("<html>404 Not Found</html>"), "not-an-image",
             "expected JPEG or PNG, found 26 bytes of something else");
  expect_bad(bytes("\xff"), "not-an-image", "found 1 bytes");
  expect_bad(bytes("GIF89a..."), "unsupported-format", "a GIF file: expected JPEG or PNG, convert it");
}

// What the decoders' next allocations will contain.
void fill_free_memory(std::uint8_t value) {
  std::vector<Bytes> blocks;
  for (std::size_t size = 16; size <= 65536; size *= 2) blocks.insert(blocks.end(), 2, Bytes(size, value));
}

// Returns the pixels, or why there are none.
std::string outcome(const Bytes& encoded, std::uint8_t memory) {
  fill_free_memory(memory);
  try {
    const Size size = probe(encoded);
    std::string rgb(static_cast<std::size_t>(3 * size.height * size.width), static_cast<char>(memory));
    decode_into(encoded, size, reinterpret_cast<std::uint8_t*>(rgb.data()));
    return rgb;
  } catch (const BadImage& bad) {
    return bad.reason + ": " + bad.what();
  }
}

// Neither a crash nor a pixel that was not written.
void expect_sound(const Bytes& encoded) {
  ASSERT_EQ(outcome(encoded, 0x5A), outcome(encoded, 0xA5));
}

std::vector<Bytes> images_to_damage() {
  std::vector<Bytes> files = {test::png(gradient(32, 32, 3), 32, 32),
                              test::png(gradient(32, 32, 3), 32, 32, {.interlaced = true, .palette = {}})};
  for (const int flags : {0, TJFLAG_PROGRESSIVE}) {
    files.push_back(test::jpeg(gradient(32, 32, 3), 32, 32, {TJPF_RGB, TJSAMP_420, flags}));
    files.push_back(test::jpeg(gradient(32, 32, 3), 32, 32, {TJPF_RGB, TJSAMP_422, flags}));
    files.push_back(test::jpeg(gradient(32, 32, 4), 32, 32, {TJPF_CMYK, TJSAMP_444, flags}));
    files.push_back(test::jpeg(gradient(32, 32, 1), 32, 32, {TJPF_GRAY, TJSAMP_GRAY, flags}));
  }
  return files;
}

TEST(Codec, GivesNoUnwrittenPixelWhicheverByteIsWrong) {
  for (Bytes bytes : images_to_damage()) {
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      const std::uint8_t before = bytes[at];
      bytes[at] = static_cast<std::uint8_t>(before + 101);
      expect_sound(bytes);
      bytes[at] = before;
    }
  }
}

TEST(Codec, GivesNoUnwrittenPixelWhateverTheDamage) {
  const std::vector<Bytes> files = images_to_damage();
  std::mt19937 random(7);  // NOLINT: the same damage every time
  const auto below = [&](std::size_t n) { return random() % n; };
  for (int round = 0; round < 3000; ++round) {
    Bytes bytes = files[below(files.size())];
    for (std::size_t changes = 1 + below(3); changes > 0; --changes) {
      const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(below(bytes.size()));
      const auto end = at + static_cast<std::ptrdiff_t>(below(std::min<std::size_t>(80, bytes.end() - at)));
      const Bytes part(at, end);
      switch (below(5)) {
        case 0:
          *at = static_cast<std::uint8_t>(random());
          break;
        case 1:
          bytes.insert(at, {0xFF, static_cast<std::uint8_t>(0xC0 + below(64))});
          break;
        case 2:
          bytes.erase(at, end);
          break;
        case 3:
          bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(below(bytes.size())), part.begin(), part.end());
          break;
        case 4:
          bytes.erase(std::max(at, bytes.begin() + 1), bytes.end());
          break;
      }
    }
    expect_sound(bytes);
  }
}

}  // namespace
}  // namespace pixelbert::images
