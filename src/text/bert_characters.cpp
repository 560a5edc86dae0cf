#include "text/bert_characters.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>
#include <span>

namespace pixelbert::text {
namespace {

struct Range {
  CodePoint first;
  CodePoint last;
};

// Sorted and not overlapping.
bool contains(std::span<const Range> ranges, CodePoint c) {
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), c,
                                      [](CodePoint value, const Range& range) { return value < range.first; });
  return after != ranges.begin() && c <= std::prev(after)->last;
}

// Marks, punctuation and format characters that Unicode 8 did not have or classified differently, found by comparing
// every code point (tests/parity/tokenizer_parity.py). Some ranges include letters, for which this makes no difference.
constexpr Range kNewer[] = {
    {0x61d, 0x61d},     {0x7fd, 0x7fd},     {0x890, 0x8e2},     {0x9fd, 0x9fe},     {0xa76, 0xa76},
    {0xafa, 0xaff},     {0xb55, 0xb55},     {0xc04, 0xc3c},     {0xc77, 0xc77},     {0xc84, 0xc84},
    {0xd00, 0xd00},     {0xd3b, 0xd3c},     {0xd81, 0xd81},     {0xeba, 0xeba},     {0xece, 0xece},
    {0x180f, 0x1886},   {0x1abf, 0x1ace},   {0x1b7d, 0x1b7e},   {0x1df6, 0x1dfb},   {0x2e43, 0x2e5d},
    {0xa82c, 0xa82c},   {0xa8c5, 0xa8c5},   {0xa8ff, 0xa8ff},   {0xa9bd, 0xa9bd},   {0x10d24, 0x10f89},
    {0x11070, 0x11074}, {0x110c2, 0x110cd}, {0x111c9, 0x111c9}, {0x111cf, 0x111cf}, {0x1123e, 0x11241},
    {0x1133b, 0x1133b}, {0x11438, 0x1145e}, {0x11660, 0x1166c}, {0x116b9, 0x116b9}, {0x1182f, 0x11fff},
    {0x12ff1, 0x13455}, {0x16e97, 0x16f4f}, {0x16fe2, 0x16fe4}, {0x1cf00, 0x1cf46}, {0x1e000, 0x1e4ef},
    {0x1e944, 0x1e95f}};

// The blocks of google-research/bert, with Hugging Face's slip of 0x2b920 for 0x2b820.
constexpr Range kIdeographs[] = {{0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},  {0x20000, 0x2a6df},
                                 {0x2a700, 0x2b81f}, {0x2b920, 0x2ceaf}, {0x2f800, 0x2fa1f}};

// Classified differently since Unicode 8.
constexpr CodePoint kWasPunctuation[] = {0x166d, 0x111c9};  // now a symbol and a mark
constexpr CodePoint kWasAccent = 0x1734;                    // now a spacing mark

utf8proc_category_t category(CodePoint c) {
  return contains(kNewer, c) ? UTF8PROC_CATEGORY_CN : utf8proc_category(c);
}

}  // namespace

bool is_dropped(CodePoint c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  if (c == 0 || c == 0xfffd) return true;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
      return true;
    default:
      return false;
  }
}

bool is_space(CodePoint c) {
  if (c == '\t' || c == '\n' || c == '\r') return true;
  const utf8proc_category_t kind = utf8proc_category(c);
  return kind == UTF8PROC_CATEGORY_ZS || kind == UTF8PROC_CATEGORY_ZL || kind == UTF8PROC_CATEGORY_ZP;
}

bool is_ideograph(CodePoint c) {
  return contains(kIdeographs, c);
}

bool is_accent(CodePoint c) {
  return category(c) == UTF8PROC_CATEGORY_MN || c == kWasAccent;
}

bool is_punctuation(CodePoint c) {
  if (c < 0x80)
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  const utf8proc_category_t kind = category(c);
  return (kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO) || std::ranges::count(kWasPunctuation, c) > 0;
}

}  // namespace pixelbert::text
