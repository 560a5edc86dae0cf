// Classifies Unicode characters for bert-base-uncased, exactly as Hugging Face tokenizers 0.22 does.
//
// utf8proc knows Unicode 15. Hugging Face reads categories from a crate with Unicode 8 (unicode_categories), so newer
// marks, punctuation and format characters are ordinary characters to it; the .cpp lists the few exceptions. Unassigned
// code points are ordinary characters too.
#pragma once

#include <cstdint>

namespace pixelbert::text {

using CodePoint = std::int32_t;  // as utf8proc

// Whether it is removed before anything else: U+0000, U+FFFD, control, format and private-use characters; not tab, LF
// and CR.
bool is_dropped(CodePoint c);

bool is_space(CodePoint c);

// The Chinese characters that become words of their own. A word of Hangul, Hiragana or Katakana is left whole.
bool is_ideograph(CodePoint c);

// Non-spacing marks, removed after canonical decomposition: "é" becomes "e".
bool is_accent(CodePoint c);

// A word of its own: every ASCII symbol, and Unicode punctuation elsewhere.
bool is_punctuation(CodePoint c);

}  // namespace pixelbert::text
