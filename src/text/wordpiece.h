// bert-base-uncased tokenization: the same ids as Hugging Face tokenizers for any text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace pixelbert::text {

class Vocabulary {
 public:
  // Reads one token per line; its id is the line number, from 0. Throws Error when a special token ([PAD] [UNK] [CLS]
  // [SEP] [MASK]) is missing, a line is empty or not UTF-8, a token occurs twice, or the file has more than 16 MiB.
  static Vocabulary read(const std::filesystem::path& path);
  explicit Vocabulary(std::vector<std::string> tokens);

  // The content of such a file, and back: one token a line.
  static Vocabulary parse(const std::string& text);
  std::string text() const;

  std::int64_t size() const { return static_cast<std::int64_t>(tokens_.size()); }
  const std::string& token(std::int64_t id) const;
  std::int64_t find(std::string_view token) const;  // -1 when absent

  std::int64_t pad() const { return pad_; }
  std::int64_t unknown() const { return unknown_; }
  std::int64_t cls() const { return cls_; }
  std::int64_t sep() const { return sep_; }
  std::int64_t mask() const { return mask_; }
  bool is_special(std::int64_t id) const;

 private:
  friend class WordPiece;

  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  using Ids = std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>>;

  std::vector<std::string> tokens_;
  Ids ids_;
  std::int64_t pad_ = 0, unknown_ = 0, cls_ = 0, sep_ = 0, mask_ = 0;
};

// Whether `text` has a word, and so gives a token with every vocabulary: blanks, control and format characters and lone
// accents are no words.
bool has_words(std::string_view text);

class WordPiece {
 public:
  explicit WordPiece(Vocabulary vocabulary);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  // Returns [CLS] text [SEP], cutting the text so that they are at most `max_tokens` (at least 2). Special tokens
  // written literally in the text are kept whole. Bytes that are not UTF-8 are ignored. Thread-safe.
  std::vector<std::int64_t> encode(std::string_view text, std::int64_t max_tokens) const;

  // Returns words with their "##" pieces joined, to read; not an exact inverse.
  std::string decode(const std::vector<std::int64_t>& ids) const;

 private:
  void append_pieces(std::string_view word, std::vector<std::int64_t>& ids) const;

  Vocabulary vocabulary_;
  Vocabulary::Ids continuations_;  // "ing" for the token "##ing"
  std::size_t longest_token_ = 0;  // bytes
};

}  // namespace pixelbert::text
