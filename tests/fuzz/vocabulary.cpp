// vocab.txt and a text that it encodes: the two parts of an input.
#include <algorithm>

#include "tests/fuzz/fuzz.h"
#include "text/wordpiece.h"

namespace pixelbert::fuzz {
namespace {

void tokenize(const text::WordPiece& tokenizer, std::string_view text, std::int64_t max_tokens) {
  const std::vector<std::int64_t> ids = tokenizer.encode(text, max_tokens);
  const text::Vocabulary& vocabulary = tokenizer.vocabulary();
  const bool in_range = std::ranges::all_of(ids, [&](std::int64_t id) { return id >= 0 && id < vocabulary.size(); });
  if (ids.size() < 2 || std::ssize(ids) > max_tokens || !in_range || ids.front() != vocabulary.cls() ||
      ids.back() != vocabulary.sep()) {
    found(fmt::format("tokens [{}] for at most {}", fmt::join(ids, ", "), max_tokens));
  }
  static_cast<void>(tokenizer.decode(ids));
}

void read(std::string_view input) {
  const auto parts = split(input, 2);
  const std::filesystem::path path = write("vocab.txt", parts[0]);
  accepted({path}, [&] {
    const text::WordPiece tokenizer(text::Vocabulary::read(path));
    for (const std::int64_t max_tokens : {2, 7, 512}) tokenize(tokenizer, parts[1], max_tokens);
  });
}

}  // namespace
}  // namespace pixelbert::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pixelbert::fuzz::read(pixelbert::fuzz::text_of({data, size}));
  return 0;
}
