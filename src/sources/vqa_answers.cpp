#include "sources/vqa_answers.h"

#include <utf8proc.h>

#include <algorithm>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

namespace pixelbert::sources {
namespace {

constexpr std::u32string_view kPunctuation = U";/[]\"{}()=+\\_-><@`,?!";
constexpr int kMostPeriods = 32;  // re.UNICODE, which vqaEval.py passes as the number of replacements

const std::unordered_map<std::string_view, std::string_view> kNumbers = {
    {"none", "0"}, {"zero", "0"}, {"one", "1"},   {"two", "2"},   {"three", "3"}, {"four", "4"},
    {"five", "5"}, {"six", "6"},  {"seven", "7"}, {"eight", "8"}, {"nine", "9"},  {"ten", "10"}};

const std::unordered_set<std::string_view> kArticles = {"a", "an", "the"};

// The official table has each of these with one of its apostrophes missing. (And a few words with capitals, which
// cannot occur.)
constexpr std::string_view kContractions =
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd "
    "he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've "
    "needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've "
    "somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll "
    "that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've "
    "weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll "
    "why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've";

const std::unordered_map<std::string, std::string> kRepaired = [] {
  std::unordered_map<std::string, std::string> repaired = {{"somebody'd", "somebodyd"}};  // as in that table
  std::istringstream words{std::string(kContractions)};
  for (std::string word; words >> word;) {
    for (auto at = word.find('\''); at != word.npos; at = word.find('\'', at + 1)) {
      repaired[word.substr(0, at) + word.substr(at + 1)] = word;
    }
  }
  return repaired;
}();

std::u32string decode(std::string_view text) {
  std::u32string decoded;
  for (std::size_t at = 0; at < text.size();) {
    utf8proc_int32_t c = 0;
    const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                                        static_cast<utf8proc_ssize_t>(text.size() - at), &c);
    decoded += bytes > 0 ? static_cast<char32_t>(c) : U'\uFFFD';
    at += bytes > 0 ? static_cast<std::size_t>(bytes) : 1;
  }
  return decoded;
}

void append(std::string& out, char32_t c) {
  utf8proc_uint8_t bytes[4];
  const auto count = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(count));
}

bool is_digit(char32_t c) {  // Python's \d
  return utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ND;
}

bool is_blank(char32_t c) {  // where Python's split() and strip() cut
  if (c < 0x80) return c == U' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0x2028 || c == 0x2029 ||
         utf8proc_category(static_cast<utf8proc_int32_t>(c)) == UTF8PROC_CATEGORY_ZS;
}

// If a comma is between two digits anywhere, all punctuation is removed without leaving a space.
bool has_comma_in_number(std::u32string_view text) {
  for (std::size_t i = 1; i + 1 < text.size(); ++i) {
    if (text[i] == U',' && is_digit(text[i - 1]) && is_digit(text[i + 1])) return true;
  }
  return false;
}

// vqaEval.py tests each mark against the whole answer: if one occurrence touches a space, all are removed without
// leaving a space.
std::u32string without_punctuation(std::u32string_view text) {
  const bool always = has_comma_in_number(text);
  std::u32string beside_space;  // the marks, each once
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool beside = (i > 0 && text[i - 1] == U' ') || (i + 1 < text.size() && text[i + 1] == U' ');
    if (beside && beside_space.find(text[i]) == beside_space.npos && kPunctuation.find(text[i]) != kPunctuation.npos) {
      beside_space += text[i];
    }
  }
  std::u32string out;
  for (const char32_t c : text) {
    if (kPunctuation.find(c) == kPunctuation.npos) {
      out += c;
    } else if (!always && beside_space.find(c) == beside_space.npos) {
      out += U' ';
    }
  }
  return out;
}

// Because of a typo, vqaEval.py checks only what follows the period, so that "1." loses it, too.
std::u32string without_periods(std::u32string_view text) {
  std::u32string out;
  int removed = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool before_digit = i + 1 < text.size() && is_digit(text[i + 1]);
    if (text[i] == U'.' && !before_digit && removed < kMostPeriods) {
      ++removed;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::vector<std::string> lower_case_words(std::u32string_view text) {
  constexpr char32_t kCapitalIWithDot = 0x130, kDotAbove = 0x307;
  std::vector<std::string> words;
  bool in_word = false;
  for (const char32_t c : text) {
    if (is_blank(c)) {
      in_word = false;
      continue;
    }
    if (!in_word) words.emplace_back();
    in_word = true;
    append(words.back(), c == kCapitalIWithDot ? U'i' : utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
    if (c == kCapitalIWithDot) append(words.back(), kDotAbove);
  }
  return words;
}

}  // namespace

std::string stripped(std::string_view answer) {
  std::u32string text = decode(answer);
  for (char32_t& c : text) c = c == U'\n' || c == U'\t' ? U' ' : c;
  const auto first = std::ranges::find_if_not(text, is_blank);
  const auto last = std::find_if_not(text.rbegin(), std::make_reverse_iterator(first), is_blank).base();
  std::string out;
  std::for_each(first, last, [&](char32_t c) { append(out, c); });
  return out;
}

std::string normalised(std::string_view answer) {
  std::string out;
  for (std::string word : lower_case_words(without_periods(without_punctuation(decode(answer))))) {
    if (const auto number = kNumbers.find(word); number != kNumbers.end()) word = number->second;
    if (kArticles.contains(word)) continue;
    if (const auto whole = kRepaired.find(word); whole != kRepaired.end()) word = whole->second;
    if (!out.empty()) out += ' ';
    out += word;
  }
  return out;
}

std::string normalised_for_vocabulary(std::string_view answer) {
  std::string out = normalised(answer);
  std::erase(out, ',');
  return out;
}

GivenAnswers::GivenAnswers(std::span<const std::string> raw) {
  for (const std::string& answer : raw) as_compared_.push_back(stripped(answer));
  are_normalised_ = std::ranges::adjacent_find(as_compared_, std::ranges::not_equal_to()) != as_compared_.end();
  if (!are_normalised_) return;
  for (std::string& answer : as_compared_) answer = normalised(answer);
}

std::string GivenAnswers::prediction_as_compared(std::string_view prediction) const {
  return are_normalised_ ? normalised(stripped(prediction)) : stripped(prediction);
}

double GivenAnswers::accuracy(std::string_view prediction_as_compared) const {
  const auto matches = static_cast<double>(std::ranges::count(as_compared_, prediction_as_compared));
  double sum = 0;
  for (const std::string& own : as_compared_) {
    const double others = matches - (own == prediction_as_compared ? 1 : 0);
    sum += std::min(1.0, others / 3);
  }
  return as_compared_.empty() ? 0 : sum / static_cast<double>(as_compared_.size());
}

double official_accuracy(std::string_view prediction, std::span<const std::string> answers) {
  const GivenAnswers given(answers);
  return given.accuracy(given.prediction_as_compared(prediction));
}

}  // namespace pixelbert::sources
