#include "checkpoint/safetensors.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <bit>
#include <cmath>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/files.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::checkpoint {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Lt;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;

std::string file_with(const std::string& header, const std::string& data = "") {
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

json header_of(const std::string& content) {
  std::uint64_t length = 0;
  std::memcpy(&length, content.data(), sizeof length);
  return json::parse(content.substr(8, length));
}

// Returns the most memory that this process has held.
std::int64_t peak_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{1024} * usage.ru_maxrss;
}

class Safetensors : public testing::Test {
 protected:
  test::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "a.safetensors";
};

TEST_F(Safetensors, GivesBackEveryTypeAndShape) {
  NamedTensors tensors;
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort,
                                    at::kChar, at::kByte, at::kBool}) {
    for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{{}, {3}, {2, 3, 5}, {0, 4}}) {
      const std::string name = fmt::format("{}.{}", c10::toString(type), shape.size());
      tensors[name] = (at::randn(shape) * 50).to(type);
    }
  }
  write_safetensors(path_, tensors);
  const NamedTensors read = read_safetensors(path_);
  ASSERT_EQ(read.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(read.at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(read.at(name).equal(tensor)) << name;
  }
}

TEST_F(Safetensors, StoresTensorsAsTheyAreIndexedWhateverTheirMemoryOrder) {
  const torch::Tensor plain = at::randn({4, 3, 2, 2});
  write_safetensors(path_, {{"last", plain.contiguous(at::MemoryFormat::ChannelsLast)},
                            {"slice", at::arange(12).view({3, 4}).select(1, 2)},
                            {"turned", at::arange(6).view({2, 3}).t()}});
  const NamedTensors read = read_safetensors(path_);
  EXPECT_TRUE(read.at("last").equal(plain));
  EXPECT_TRUE(read.at("last").is_contiguous());
  EXPECT_TRUE(read.at("slice").equal(at::tensor({2, 6, 10}, at::kLong)));
  EXPECT_TRUE(read.at("turned").equal(at::tensor({0, 3, 1, 4, 2, 5}, at::kLong).view({3, 2})));
}

// https://github.com/huggingface/safetensors#format
TEST_F(Safetensors, FollowsThePublishedFormat) {
  const Digest digest = write_safetensors(
      path_, {{"b", at::tensor({1, 2}, at::kByte)}, {"a", at::tensor({1.5f, -2.0f})}}, {{"format", "pt"}});
  const std::string content = read_file(path_);
  EXPECT_EQ(header_of(content), (json{{"__metadata__", {{"format", "pt"}}},
                                      {"a", {{"dtype", "F32"}, {"shape", {2}}, {"data_offsets", {0, 8}}}},
                                      {"b", {{"dtype", "U8"}, {"shape", {2}}, {"data_offsets", {8, 10}}}}}));
  const std::size_t data = content.size() - 10;
  EXPECT_EQ(data % 8, 0u);
  float values[2];
  std::memcpy(values, content.data() + data, sizeof values);
  EXPECT_EQ(values[0], 1.5f);
  EXPECT_EQ(values[1], -2.0f);
  EXPECT_EQ(content.substr(data + 8), "\x01\x02");
  EXPECT_EQ(digest, (Digest{static_cast<std::int64_t>(content.size()), crc32c_of_file(path_)}));
}

TEST_F(Safetensors, ListsWithoutReadingTheTensors) {
  write_safetensors(path_, {{"w", at::zeros({3, 4})}, {"n", at::zeros({}, at::kLong)}});
  const auto list = list_safetensors(path_);
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].name, "n");  // eight bytes an item before four
  EXPECT_EQ(list[1].name, "w");
  EXPECT_EQ(list[1].shape, (std::vector<std::int64_t>{3, 4}));
  EXPECT_EQ(list[1].end - list[1].begin, 48);
}

TEST_F(Safetensors, ReadsAFileWithoutTensors) {
  write_safetensors(path_, {});
  EXPECT_TRUE(read_safetensors(path_).empty());
}

TEST_F(Safetensors, GivesBackTheMetadata) {
  const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"note", "two\nlines, \"quoted\", größer"}};
  write_safetensors(path_, {{"w", at::zeros({2})}}, metadata);
  EXPECT_EQ(read_safetensors_metadata(path_), metadata);
  write_safetensors(path_, {{"w", at::zeros({2})}});
  EXPECT_TRUE(read_safetensors_metadata(path_).empty());
  write_file(path_, file_with(R"({"__metadata__":{"step":7}})"));
  EXPECT_THAT([&] { read_safetensors_metadata(path_); },
              ThrowsMessage<Error>(HasSubstr(path_.string() + ": metadata 'step' is 7, expected a string")));
}

TEST_F(Safetensors, RefusesWhatTheFormatDoesNotHold) {
  EXPECT_THAT([&] { write_safetensors(path_, {{"z", at::zeros({2}, at::kComplexFloat)}}); },
              ThrowsMessage<Error>(HasSubstr("tensor 'z' has dtype ComplexFloat")));
}

std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

struct BadFile {
  const char* name;
  std::string content;
  const char* message;
};

class BadSafetensors : public testing::TestWithParam<BadFile> {};

TEST_P(BadSafetensors, AreRefusedByNameAndReason) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "bad.safetensors";
  write_file(path, GetParam().content);
  const auto expected = ThrowsMessage<Error>(
      AllOf(HasSubstr(path.string()), HasSubstr(GetParam().message), Not(HasSubstr("\n")), SizeIs(Lt(1000u))));
  EXPECT_THAT([&] { read_safetensors(path); }, expected);
  EXPECT_THAT([&] { list_safetensors(path); }, expected);
}

const std::string kOneFloat = R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";

std::vector<BadFile> bad_files() {
  const auto one = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return file_with(R"({"w":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}",
                     "1234");
  };
  const auto two = [](const std::string& offsets) {
    return file_with(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                     R"("b":{"dtype":"U8","shape":[4],"data_offsets":)" +
                         offsets + "}}",
                     "12345678");
  };
  return {
      {"Empty", "", "is 0 bytes long: too short"},
      {"OnlyALength", std::string(8, '\0'), "its header is not JSON: line 1, column 1"},
      {"HeaderLongerThanTheFile", file_with(kOneFloat, "1234").substr(0, 20), "is not a whole safetensors file"},
      {"HeaderOfManyExabytes", std::string(16, '\xff'), "is not a whole safetensors file"},
      {"NotJson", file_with("weights"), "its header is not JSON: line 1, column 1"},
      {"ANumber", file_with("1"), "its header is not a JSON object"},
      {"CutHeader", file_with(kOneFloat.substr(0, 30), "1234"), "its header is not JSON"},
      {"NotUtf8", file_with("{\"\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "1234"),
       "its header is not JSON"},
      {"AList", file_with("[1]"), "its header is not a JSON object"},
      {"CutData", file_with(kOneFloat, "12"), "it was cut or added to"},
      {"MoreData", file_with(kOneFloat, "12345"), "it was cut or added to"},
      {"NoShape", file_with(R"({"w":{"dtype":"F32","data_offsets":[0,4]}})", "1234"),
       "expected dtype, shape and data_offsets, found data_offsets and dtype alone"},
      {"EntryIsANumber", file_with(R"({"w":7})"), "expected dtype, shape and data_offsets, found 7"},
      {"UnknownType", one("F8_E4M3", "[4]", "[0,4]"),
       "tensor 'w': dtype is \"F8_E4M3\", which this program does not read"},
      {"TypeIsANumber", file_with(R"({"w":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", "1234"),
       "tensor 'w': dtype is 7, expected a string"},
      {"NegativeSize", one("F32", "[-1]", "[0,4]"), "tensor 'w': shape has -1, expected a list of sizes"},
      {"FractionalSize", one("F32", "[1.5]", "[0,4]"), "expected a list of sizes"},
      {"ShapeIsANumber", one("F32", "1", "[0,4]"), "expected a list of sizes"},
      {"SizesThatOverflow", one("F32", "[4294967296,4294967296,4294967296]", "[0,4]"), "expected a list of sizes"},
      {"SizesThatOverflowToZero", one("U8", "[9223372036854775808,2]", "[0,0]"), "expected a list of sizes"},
      {"SizesThatOverflowAndThenVanish", one("U8", "[9223372036854775807,2,0]", "[0,0]"), "expected a list of sizes"},
      {"SizesThatOverflowBehindAZero", one("U8", "[0,4611686018427387904,2]", "[0,0]"), "whose product is below 2^63"},
      {"SizesThatOverflowInBytes", one("F64", "[0,2305843009213693952]", "[0,0]"), "whose product is below 2^63"},
      {"SizeBeyondInt64", one("U8", "[18446744073709551615]", "[0,0]"), "expected a list of sizes"},
      {"ManyDimensions", one("F32", "[1" + repeated(",1", 64) + "]", "[0,4]"), "the 64 sizes that a tensor may have"},
      {"ShapeInAShape", one("F32", "[[1]]", "[0,4]"), "tensor 'w': shape has a list"},
      {"ShapeInAShapeManyTimes", one("F32", repeated("[", 100'000) + repeated("]", 100'000), "[0,4]"), "has a list"},
      {"ManyLevels", file_with("{\"a\":" + repeated("[", 100'000) + repeated("]", 100'000) + "}"),
       "tensor 'a': expected dtype, shape and data_offsets, found a list"},
      {"ManyObjects", file_with(repeated("{\"a\":", 100'000) + "1" + repeated("}", 100'000)), "found 'a'"},
      {"EndBeyondInt64", one("U8", "[9223372036854775807]", "[0,9223372036854775807]"), "it was cut or added to"},
      {"HugeTensor", one("F32", "[1000000000000]", "[0,4000000000000]"), "it was cut or added to"},
      {"ShapeOfAnotherSize", one("F32", "[2]", "[0,4]"), "holds 4 bytes, but F32 [2] needs 8"},
      {"TensorTwice",
       file_with(R"({"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                 R"("\u0077":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                 "1234"),
       "tensor 'w' is there twice"},
      {"KeyTwice", file_with(R"({"w":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}})", "1234"),
       "tensor 'w': dtype is there twice"},
      {"KeyThatIsNone", file_with(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", "1234"),
       "found 'x'"},
      {"MetadataTwice", file_with(R"({"__metadata__":{"a":"1"},"__metadata__":{"b":"2"}})"),
       "__metadata__ is there twice"},
      {"MetadataKeyTwice", file_with(R"({"__metadata__":{"a":"1","a":"2"}})"), "metadata 'a' is there twice"},
      {"MetadataOfANumber", file_with(R"({"__metadata__":{"a":1}})"), "metadata 'a' is 1, expected a string"},
      {"MetadataOfALevelMore", file_with(R"({"__metadata__":{"a":{}}})"), "metadata 'a' is an object"},
      {"OffsetsAreThree", one("F32", "[1]", "[0,4,8]"), "[begin, end]"},
      {"OffsetsAreOne", one("F32", "[1]", "[0]"), "expected [begin, end]"},
      {"OffsetsBackwards", one("F32", "[1]", "[4,0]"), "expected [begin, end]"},
      {"OffsetsNegative", one("F32", "[1]", "[-4,0]"), "expected [begin, end]"},
      {"OffsetsBeyondInt64", one("F32", "[1]", "[18446744073709551608,18446744073709551612]"), "expected"},
      {"Overlap", two("[2,6]"), "it overlaps another"},
      {"Hole", two("[6,10]"), "there is a hole"},
  };
}

INSTANTIATE_TEST_SUITE_P(EverySort, BadSafetensors, testing::ValuesIn(bad_files()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(Safetensors, RefusesAFileCutAnywhere) {
  write_safetensors(path_, {{"w", at::randn({5})}, {"b", at::zeros({3}, at::kByte)}});
  const std::string content = read_file(path_);
  for (std::size_t size = 0; size < content.size(); ++size) {
    write_file(path_, content.substr(0, size));
    EXPECT_THROW(read_safetensors(path_), Error) << size << " of " << content.size() << " bytes";
  }
}

// A header is believed only as far as the file is long.
TEST_F(Safetensors, DoNotAllocateWhatAHostileHeaderClaims) {
  for (const BadFile& bad : bad_files()) {
    write_file(path_, bad.content);
    rlimit before{}, tight{};
    ::getrlimit(RLIMIT_AS, &before);
    std::uint64_t pages = 0;
    ASSERT_EQ(std::sscanf(read_file("/proc/self/statm").c_str(), "%lu", &pages), 1);
    tight = {.rlim_cur = pages * 4096 + (64 << 20), .rlim_max = before.rlim_max};
    ::setrlimit(RLIMIT_AS, &tight);
    EXPECT_THROW(read_safetensors(path_), Error) << bad.name;  // not std::bad_alloc
    ::setrlimit(RLIMIT_AS, &before);
  }
}

// As a JSON tree the header would take sixty times its size.
TEST_F(Safetensors, ReadALargeHeaderInAFewTimesItsSize) {
  std::string header = "{";
  for (int i = 0; header.size() < 8'000'000; ++i) {
    header += fmt::format(R"({}"{:x}":{{"dtype":"U8","shape":[],"data_offsets":[{},{}]}})", i ? "," : "", i, i, i + 1);
  }
  header += "}";
  write_file(path_, file_with(header));  // without its data
  std::string().swap(header);
  const std::int64_t before = peak_bytes();
  EXPECT_THAT([&] { list_safetensors(path_); }, ThrowsMessage<Error>(HasSubstr("it was cut or added to")));
  EXPECT_LT(peak_bytes() - before, std::int64_t{100} << 20);
}

TEST_F(Safetensors, ReadsAnEmptyTensorWithManySizes) {
  write_safetensors(path_, {{"w", at::zeros({0, 1'000'000'000, 7})}});
  EXPECT_EQ(read_safetensors(path_).at("w").sizes(), (at::IntArrayRef{0, 1'000'000'000, 7}));
}

TEST(CheckFinite, NamesTheTensorWithANanOrAnInfinity) {
  const torch::Tensor good = at::arange(9).to(at::kFloat).view({3, 3});
  EXPECT_NO_THROW(check_finite({{"a", good}, {"empty", at::zeros({0})}, {"counter", at::arange(3)}}, "x"));
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
    for (const double bad : {NAN, INFINITY, -INFINITY}) {
      torch::Tensor broken = good.to(type, /*non_blocking=*/false, /*copy=*/true);
      broken[1][2] = bad;
      EXPECT_THAT(([&] { check_finite({{"a", good}, {"b", broken}}, "m.safetensors"); }),
                  ThrowsMessage<Error>(HasSubstr("m.safetensors: tensor 'b' holds values that are not finite")));
    }
  }
}

TEST_F(Safetensors, SaysSoWhenTheDiskIsFull) {
  EXPECT_THAT([] { write_safetensors("/dev/full", {{"w", at::zeros({10})}}); },
              ThrowsMessage<Error>(HasSubstr("cannot write /dev/full: No space left on device")));
  EXPECT_THAT([] { write_safetensors("/no/such/folder/a", {}); },
              ThrowsMessage<Error>(HasSubstr("cannot create /no/such/folder/a: No such file or directory")));
}

}  // namespace
}  // namespace pixelbert::checkpoint
