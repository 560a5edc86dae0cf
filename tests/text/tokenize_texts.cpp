// Tokenizes texts for tests/parity/tokenizer_parity.py: texts in, ids out.
//
//   tokenize_texts VOCAB MAX_TOKENS < texts > ids
//
// A text arrives as its length in bytes (32 bits, little-endian) and its bytes, because it may contain any character;
// its ids are written as one line.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>

#include "text/wordpiece.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: tokenize_texts VOCAB MAX_TOKENS < texts > ids\n";
    return 2;
  }
  const pixelbert::text::WordPiece tokenizer(pixelbert::text::Vocabulary::read(argv[1]));
  const std::int64_t max_tokens = std::stoll(argv[2]);
  std::string text;
  std::string line;
  std::int64_t tokens = 0;
  std::chrono::steady_clock::duration spent{};
  for (std::uint32_t bytes = 0; std::fread(&bytes, sizeof bytes, 1, stdin) == 1;) {
    text.resize(bytes);
    if (std::fread(text.data(), 1, bytes, stdin) != bytes) {
      std::cerr << "the last text is shorter than its length says\n";
      return 1;
    }
    const auto begin = std::chrono::steady_clock::now();
    const std::vector<std::int64_t> ids = tokenizer.encode(text, max_tokens);
    spent += std::chrono::steady_clock::now() - begin;
    tokens += static_cast<std::int64_t>(ids.size());
    line.clear();
    for (const std::int64_t id : ids) line += std::to_string(id) + ' ';
    line.back() = '\n';
    std::fwrite(line.data(), 1, line.size(), stdout);
  }
  std::cerr << tokens / std::chrono::duration<double>(spent).count() / 1e6 << " million tokens a second\n";
}
