// bert-base-uncased tokenization: the same ids as Hugging Face tokenizers for any valid or invalid UTF-8 (facts 7.1).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace pixelbert::text {

class Vocabulary {
 public:
  // One token a line, the id is the line number. Error when a special token ([PAD] [UNK] [CLS] [SEP] [MASK]) is missing
  // or a token stands twice.
  static Vocabulary read(const std::filesystem::path& path);
  explicit Vocabulary(std::vector<std::string> tokens);

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
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::vector<std::string> tokens_;
  std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>> ids_;
  std::int64_t pad_ = 0, unknown_ = 0, cls_ = 0, sep_ = 0, mask_ = 0;
};

class WordPiece {
 public:
  explicit WordPiece(Vocabulary vocabulary);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  // [CLS] text [SEP], the text cut so that the whole is at most `max_tokens` (at least 2). Special tokens written
  // literally in the text are kept whole. Invalid UTF-8 is read as U+FFFD, which the normaliser drops. Thread-safe.
  std::vector<std::int64_t> encode(std::string_view text, std::int64_t max_tokens) const;

  // Words again, "##" joined; for people, not an inverse.
  std::string decode(const std::vector<std::int64_t>& ids) const;

 private:
  Vocabulary vocabulary_;
};

}  // namespace pixelbert::text
