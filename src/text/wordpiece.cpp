#include "text/wordpiece.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/check.h"
#include "core/files.h"
#include "core/text_lines.h"
#include "text/bert_characters.h"

namespace pixelbert::text {
namespace {

constexpr std::string_view kContinuation = "##";
constexpr std::ptrdiff_t kLongestWord = 100;  // characters; a longer one is [UNK] (Hugging Face; BERT itself had 200)

// What an ASCII character becomes: itself in lower case, a space, or 0 when it is dropped.
constexpr std::array<char, 128> kAscii = [] {
  std::array<char, 128> table{};
  for (char c = ' '; c < 0x7f; ++c) table[static_cast<std::size_t>(c)] = c;
  for (char c = 'A'; c <= 'Z'; ++c) table[static_cast<std::size_t>(c)] = static_cast<char>(c - 'A' + 'a');
  table['\t'] = table['\n'] = table['\r'] = ' ';
  return table;
}();

constexpr bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool starts_character(char byte) {
  return (byte & 0xc0) != 0x80;
}

// Splits text into lower-case words without accents and passes each to `take`; a punctuation character or an ideograph
// is a word of its own. Stops when `take` returns false.
//
// Decomposed marks are not sorted into canonical order: those with an order are accents, which are dropped, except for
// a handful that no word of the vocabulary has.
template <class Take>
class WordSplitter {
 public:
  explicit WordSplitter(Take take) : take_(std::move(take)) {}

  bool split(std::string_view text) {
    std::size_t at = 0;
    while (at < text.size() && going_) {
      const char byte = text[at];
      if (static_cast<unsigned char>(byte) < 0x80) {
        add_ascii(kAscii[byte]);
        ++at;
        continue;
      }
      CodePoint c = 0;
      const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                                          static_cast<utf8proc_ssize_t>(text.size() - at), &c);
      if (bytes > 0) add(c);
      at += bytes > 0 ? static_cast<std::size_t>(bytes) : 1;
    }
    end_word();
    return going_;
  }

 private:
  void add_ascii(char c) {
    if (is_word_character(c)) {
      word_ += c;
    } else if (c == ' ') {
      end_word();
    } else if (c != 0) {
      add_punctuation(std::string_view(&c, 1));
    }
  }

  void add(CodePoint c) {
    if (is_dropped(c)) return;
    if (is_space(c)) return end_word();
    const bool alone = is_ideograph(c);
    if (alone) end_word();

    std::array<CodePoint, 8> parts;  // canonical decompositions have at most 4
    int last_boundary_class = 0;
    const auto count = utf8proc_decompose_char(c, parts.data(), parts.size(), UTF8PROC_DECOMPOSE, &last_boundary_class);
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      if (!is_accent(parts[i])) add_normalised(parts[i]);
    }
    if (alone) end_word();
  }

  void add_normalised(CodePoint c) {
    std::array<utf8proc_uint8_t, 4> buffer;
    const auto bytes = utf8proc_encode_char(utf8proc_tolower(c), buffer.data());
    const std::string_view character(reinterpret_cast<const char*>(buffer.data()), static_cast<std::size_t>(bytes));
    if (is_punctuation(c)) return add_punctuation(character);
    word_ += character;
  }

  void add_punctuation(std::string_view character) {
    end_word();
    if (going_) going_ = take_(character);
  }

  void end_word() {
    if (!word_.empty() && going_) going_ = take_(word_);
    word_.clear();
  }

  Take take_;
  std::string word_;
  bool going_ = true;
};

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    CodePoint c = 0;
    const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                        static_cast<utf8proc_ssize_t>(text.size()), &c);
    if (bytes <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(bytes));
  }
  return true;
}

struct SpecialToken {
  std::size_t begin;
  std::size_t end;
  std::int64_t id;
};

// Finds the first special token in the text; -1 and the end of the text when there is none.
SpecialToken find_special(const Vocabulary& vocabulary, std::string_view text) {
  const std::array specials = {vocabulary.pad(), vocabulary.unknown(), vocabulary.cls(), vocabulary.sep(),
                               vocabulary.mask()};
  for (std::size_t begin = text.find('['); begin != std::string_view::npos; begin = text.find('[', begin + 1)) {
    for (const std::int64_t id : specials) {
      const std::string& token = vocabulary.token(id);
      if (text.substr(begin).starts_with(token)) return {begin, begin + token.size(), id};
    }
  }
  return {text.size(), text.size(), -1};
}

}  // namespace

Vocabulary Vocabulary::read(const std::filesystem::path& path) {
  constexpr std::size_t kMostBytes = std::size_t{16} << 20;  // the largest model's has five MiB
  std::vector<std::string> tokens = lines_of(read_file(path, kMostBytes));
  try {
    return Vocabulary(std::move(tokens));
  } catch (const Error& error) {
    fail(fmt::format("vocabulary {}: {}", path.string(), error.what()));
  }
}

Vocabulary Vocabulary::parse(const std::string& text) {
  return Vocabulary(lines_of(text));
}

std::string Vocabulary::text() const {
  std::string text;
  for (const std::string& token : tokens_) text += token + "\n";
  return text;
}

Vocabulary::Vocabulary(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {
  ids_.reserve(tokens_.size());
  for (std::int64_t id = 0; id < size(); ++id) {
    const std::string& token = tokens_[id];
    PB_CHECK(!token.empty(), "expected a token on every line, line {} is empty", id + 1);
    PB_CHECK(is_utf8(token), "expected UTF-8, line {} is not: is this a vocab.txt?", id + 1);
    const auto [present, added] = ids_.emplace(token, id);
    PB_CHECK(added, "the token '{}' is on lines {} and {}: expected it once", one_line(token, 60), present->second + 1,
             id + 1);
  }
  const auto special = [this](std::string_view token) {
    const std::int64_t id = find(token);
    PB_CHECK(id >= 0, "no {} among {} tokens: expected a BERT vocab.txt with [PAD] [UNK] [CLS] [SEP] [MASK]", token,
             size());
    return id;
  };
  pad_ = special("[PAD]");
  unknown_ = special("[UNK]");
  cls_ = special("[CLS]");
  sep_ = special("[SEP]");
  mask_ = special("[MASK]");
}

const std::string& Vocabulary::token(std::int64_t id) const {
  PB_CHECK(id >= 0 && id < size(), "expected a token id below {}, found {}", size(), id);
  return tokens_[id];
}

std::int64_t Vocabulary::find(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? -1 : found->second;
}

bool Vocabulary::is_special(std::int64_t id) const {
  return id == pad_ || id == unknown_ || id == cls_ || id == sep_ || id == mask_;
}

bool has_words(std::string_view text) {
  return !WordSplitter([](std::string_view) { return false; }).split(text);  // the first word stops it
}

WordPiece::WordPiece(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {
  for (std::int64_t id = 0; id < vocabulary_.size(); ++id) {
    const std::string_view token = vocabulary_.token(id);
    longest_token_ = std::max(longest_token_, token.size());
    if (token.starts_with(kContinuation)) continuations_.emplace(token.substr(kContinuation.size()), id);
  }
}

std::vector<std::int64_t> WordPiece::encode(std::string_view text, std::int64_t max_tokens) const {
  PB_CHECK(max_tokens >= 2, "expected room for at least [CLS] and [SEP], found max_tokens = {}", max_tokens);
  const auto room = static_cast<std::size_t>(max_tokens - 1);  // without [SEP]

  std::vector<std::int64_t> ids = {vocabulary_.cls()};
  WordSplitter words([&](std::string_view word) {
    append_pieces(word, ids);
    return ids.size() < room;
  });

  while (!text.empty() && ids.size() < room) {
    const SpecialToken special = find_special(vocabulary_, text);
    words.split(text.substr(0, special.begin));
    if (special.id >= 0) ids.push_back(special.id);
    text.remove_prefix(special.end);
  }
  ids.resize(std::min(ids.size(), room));
  ids.push_back(vocabulary_.sep());
  return ids;
}

// Greedy, the longest match first. A word with a part that no token matches is unknown as a whole.
void WordPiece::append_pieces(std::string_view word, std::vector<std::int64_t>& ids) const {
  const std::size_t before = ids.size();
  const auto unknown = [&] {
    ids.resize(before);
    ids.push_back(vocabulary_.unknown());
  };
  if (std::ranges::count_if(word, starts_character) > kLongestWord) return unknown();

  const Vocabulary::Ids* tokens = &vocabulary_.ids_;
  while (!word.empty()) {
    std::size_t length = std::min(word.size(), longest_token_);
    auto found = tokens->find(word.substr(0, length));
    while (found == tokens->end() && --length > 0) found = tokens->find(word.substr(0, length));
    if (found == tokens->end()) return unknown();
    ids.push_back(found->second);
    word.remove_prefix(length);
    tokens = &continuations_;
  }
}

std::string WordPiece::decode(const std::vector<std::int64_t>& ids) const {
  std::string text;
  for (const std::int64_t id : ids) {
    std::string_view token = vocabulary_.token(id);
    if (token.starts_with(kContinuation)) {
      token.remove_prefix(kContinuation.size());
    } else if (!text.empty()) {
      text += ' ';
    }
    text += token;
  }
  return text;
}

}  // namespace pixelbert::text
