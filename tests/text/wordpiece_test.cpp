#include "text/wordpiece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "core/check.h"
#include "core/files.h"
#include "tests/support/shared_data.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> small_vocabulary() {
  return {"[PAD]",   "[UNK]",    "[CLS]",   "[SEP]",       "[MASK]", "a",   "walk",
          "walking", "##ing",    "##in",    "##g",         "dog",    ".",   "[",
          "]",       "cafe",     "strasse", "stra\u00dfe", "日",     "本",  "#",
          "mask",    "istanbul", "σισυφοσ", "…",           "ing",    "##a", "b"};
}

// Pieces of a text without [CLS] and [SEP].
std::vector<std::string> pieces(const std::string& text, std::int64_t max_tokens = 1000) {
  static const WordPiece tokenizer{Vocabulary(small_vocabulary())};
  const std::vector<std::int64_t> ids = tokenizer.encode(text, max_tokens);
  EXPECT_EQ(ids.front(), tokenizer.vocabulary().cls());
  EXPECT_EQ(ids.back(), tokenizer.vocabulary().sep());
  std::vector<std::string> tokens;
  for (std::size_t i = 1; i + 1 < ids.size(); ++i) tokens.push_back(tokenizer.vocabulary().token(ids[i]));
  return tokens;
}

std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

template <class Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(WordPiece, TakesTheLongestMatchFirst) {
  EXPECT_THAT(pieces("walking"), ElementsAre("walking"));
  EXPECT_THAT(pieces("walkin"), ElementsAre("walk", "##in"));
  EXPECT_THAT(pieces("dogging"), ElementsAre("dog", "##g", "##ing"));
}

TEST(WordPiece, AWordWithAPartNobodyKnowsIsUnknownAsAWhole) {
  EXPECT_THAT(pieces("a walkzzz dog"), ElementsAre("a", "[UNK]", "dog"));
}

TEST(WordPiece, LowersAndDropsAccents) {
  EXPECT_THAT(pieces("CAF\u00c9 cafe\u0301"), ElementsAre("cafe", "cafe"));
  EXPECT_THAT(pieces("Stra\u00dfe"), ElementsAre("stra\u00dfe"));  // not folded to "ss"
  EXPECT_THAT(pieces("\u0130STANBUL"), ElementsAre("istanbul"));   // the dot above is an accent
  EXPECT_THAT(pieces("ΣΊΣΥΦΟΣ"), ElementsAre("σισυφοσ"));          // no final sigma
}

TEST(WordPiece, PunctuationAndIdeographsAreWords) {
  EXPECT_THAT(pieces("dog.a…dog"), ElementsAre("dog", ".", "a", "…", "dog"));
  EXPECT_THAT(pieces("a日本dog"), ElementsAre("a", "日", "本", "dog"));
  EXPECT_THAT(pieces("##ing"), ElementsAre("#", "#", "ing"));
}

TEST(WordPiece, SeparatesAtEveryKindOfSpaceAndDropsControlCharacters) {
  EXPECT_THAT(pieces("a\tb\na\rb\u00a0a\u3000b\u2028a"), ElementsAre("a", "b", "a", "b", "a", "b", "a"));
  EXPECT_THAT(pieces(std::string("wa\0lk\x01\x0b\x7fin\u200dg\ufffd", 17)), ElementsAre("walking"));
}

TEST(WordPiece, BytesThatAreNotUtf8AreIgnored) {
  EXPECT_THAT(pieces("wa\xfflk\xc3ing"), ElementsAre("walking"));
  EXPECT_THAT(pieces("dog\xf0\x9f\x98"), ElementsAre("dog"));  // cut in the middle of a character
  EXPECT_THAT(pieces("d\xed\xa0\x80og"), ElementsAre("dog"));  // a surrogate
  EXPECT_THAT(pieces("d\xc1\xa1og"), ElementsAre("dog"));      // an overlong "a"
}

TEST(WordPiece, SpecialTokensWrittenOutAreKeptWhole) {
  EXPECT_THAT(pieces("a[MASK]dog [SEP]."), ElementsAre("a", "[MASK]", "dog", "[SEP]", "."));
  EXPECT_THAT(pieces("[[MASK]]"), ElementsAre("[", "[MASK]", "]"));
  EXPECT_THAT(pieces("[mask] [MASK"), ElementsAre("[", "mask", "]", "[", "mask"));
}

TEST(WordPiece, AWordOfMoreThanAHundredCharactersIsUnknown) {
  EXPECT_EQ(pieces(repeated("a", 100)).size(), 100u);
  EXPECT_THAT(pieces(repeated("a", 101)), ElementsAre("[UNK]"));
  EXPECT_EQ(pieces(repeated("a\u0301", 100)).size(), 100u);  // accents do not count
}

TEST(WordPiece, CutsToTheGivenLengthAndKeepsBothEnds) {
  const WordPiece tokenizer{Vocabulary(small_vocabulary())};
  const std::string text = "a dogging [MASK] walk.";
  const std::vector<std::int64_t> whole = tokenizer.encode(text, 100);
  for (std::int64_t max_tokens = 2; max_tokens < 12; ++max_tokens) {
    std::vector<std::int64_t> expected = whole;
    if (max_tokens < static_cast<std::int64_t>(whole.size())) {
      expected.resize(static_cast<std::size_t>(max_tokens - 1));
      expected.push_back(tokenizer.vocabulary().sep());
    }
    EXPECT_EQ(tokenizer.encode(text, max_tokens), expected) << max_tokens;
  }
  EXPECT_THAT(message_of([&] { tokenizer.encode(text, 1); }),
              HasSubstr("room for at least [CLS] and [SEP], found max_tokens = 1"));
}

TEST(WordPiece, TakesTextsOfAnyLength) {
  EXPECT_THAT(pieces(""), ElementsAre());
  EXPECT_THAT(pieces(repeated("[", 1'000'000), 3), ElementsAre("["));
  EXPECT_THAT(pieces(repeated("z", 1'000'000)), ElementsAre("[UNK]"));
  EXPECT_EQ(pieces(repeated("dog ", 10'000), 40).size(), 38u);
}

TEST(WordPiece, GivesTheSameFromSeveralThreads) {
  const WordPiece tokenizer{Vocabulary(small_vocabulary())};
  const std::string text = "A dogging caf\u00e9 [MASK] 日本 walkzzz.";
  const std::vector<std::int64_t> expected = tokenizer.encode(text, 40);
  std::vector<int> different(4);
  {
    std::vector<std::jthread> threads;
    for (int& count : different) {
      threads.emplace_back([&] {
        for (int i = 0; i < 2000; ++i) count += tokenizer.encode(text, 40) != expected;
      });
    }
  }
  EXPECT_THAT(different, ::testing::Each(0));
}

TEST(WordPiece, DecodeJoinsPieces) {
  const WordPiece tokenizer{Vocabulary(small_vocabulary())};
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("Dogging a [MASK].", 40)), "[CLS] dogging a [MASK] . [SEP]");
  EXPECT_EQ(tokenizer.decode({}), "");
  EXPECT_THAT(message_of([&] { tokenizer.decode({28}); }), HasSubstr("expected a token id below 28, found 28"));
  EXPECT_THAT(message_of([&] { tokenizer.decode({-1}); }), HasSubstr("found -1"));
}

// True for any vocabulary: a word that none of its tokens matches is [UNK].
TEST(HasWords, IsWhetherATextGivesAToken) {
  const WordPiece strange{Vocabulary({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"})};
  for (const char* text : {"a", " A.", "?", "\u65E5", "e\u0301", "[MASK]", "\u0301x", "\u00A0\u200Bx", "\U0001F600"}) {
    EXPECT_TRUE(has_words(text)) << text;
    EXPECT_GT(strange.encode(text, 10).size(), 2U) << text;
  }
  for (const std::string& text :
       {std::string(), std::string(" \t\r\n"), std::string("\0\0", 2), std::string("\x07\x7F"), std::string("\xFF\xC0"),
        std::string("\u00A0\u3000\u2028"), std::string("\u200B\u00AD\uFEFF"), std::string("\u0301\u0302 \u0300"),
        std::string("\uE000"), std::string("\xEF\xBF\xBD")}) {
    EXPECT_FALSE(has_words(text)) << text;
    EXPECT_EQ(strange.encode(text, 10).size(), 2U) << text;
  }
}

TEST(Vocabulary, NumbersLinesFromZeroAndKnowsTheSpecialTokens) {
  const test::TemporaryFolder folder;
  std::string content = "\xEF\xBB\xBF";  // written on Windows
  for (const std::string& token : small_vocabulary()) content += token + "\r\n";
  write_file(folder.path() / "vocab.txt", content);
  const Vocabulary vocabulary = Vocabulary::read(folder.path() / "vocab.txt");
  ASSERT_EQ(vocabulary.size(), 28);
  for (std::int64_t id = 0; id < vocabulary.size(); ++id) {
    EXPECT_EQ(vocabulary.token(id), small_vocabulary()[static_cast<std::size_t>(id)]);
    EXPECT_EQ(vocabulary.find(vocabulary.token(id)), id);
    EXPECT_EQ(vocabulary.is_special(id), id < 5);
  }
  EXPECT_EQ(vocabulary.find("cat"), -1);
}

TEST(Vocabulary, SkipsAByteOrderMark) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "vocab.txt";
  write_file(path, "\xef\xbb\xbf[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ndog\n");
  EXPECT_EQ(Vocabulary::read(path).find("[PAD]"), 0);
}

TEST(Vocabulary, ReadsBertBaseUncased) {
  const auto data = test::shared_data("bert-base-uncased-vocab");
  if (data.empty()) GTEST_SKIP() << "no real data";
  const Vocabulary vocabulary = Vocabulary::read(data / "vocab.txt");
  EXPECT_EQ(vocabulary.size(), 30522);
  EXPECT_EQ(vocabulary.pad(), 0);
  EXPECT_EQ(vocabulary.unknown(), 100);
  EXPECT_EQ(vocabulary.cls(), 101);
  EXPECT_EQ(vocabulary.sep(), 102);
  EXPECT_EQ(vocabulary.mask(), 103);
}

TEST(Vocabulary, RefusesAFileThatIsNoVocabularyAndSaysWhy) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "vocab.txt";
  const auto refused = [&](const std::string& content) {
    write_file(path, content);
    return message_of([&] { Vocabulary::read(path); });
  };
  EXPECT_THAT(refused("[PAD]\n[UNK]\n[CLS]\n[SEP]\n"), HasSubstr("no [MASK] among 4 tokens"));
  EXPECT_THAT(refused("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ndog\ndog\n"), HasSubstr("'dog' is on lines 6 and 7"));
  EXPECT_THAT(refused("[PAD]\n\n[UNK]\n"), HasSubstr("line 2 is empty"));
  EXPECT_THAT(refused(""), HasSubstr("no [PAD] among 0 tokens"));
  EXPECT_THAT(refused(""), HasSubstr(path.string()));
  EXPECT_THAT(refused("[PAD]\n[UNK]\ncaf\xe9\n"), HasSubstr("expected UTF-8, line 3 is not"));         // Latin-1
  EXPECT_THAT(refused(std::string("\xff\xfe[\0P\0", 6)), HasSubstr("expected UTF-8, line 1 is not"));  // UTF-16
  EXPECT_THAT(message_of([] { Vocabulary::read("/dev/zero"); }), HasSubstr("/dev/zero is longer than 16777216 bytes"));
  EXPECT_THAT(message_of([&] { Vocabulary::read(folder.path()); }), HasSubstr("Is a directory"));
  EXPECT_THAT(message_of([&] { Vocabulary::read(folder.path() / "absent.txt"); }), HasSubstr("absent.txt"));
}

}  // namespace
}  // namespace pixelbert::text
