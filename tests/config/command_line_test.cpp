#include "config/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <limits>

#include "core/check.h"
#include "core/files.h"
#include "tests/support/temporary_folder.h"

namespace pixelbert::config {
namespace {

using testing::HasSubstr;

struct Options {
  std::string text = "a";
  std::int64_t layers = 12;
  std::uint64_t seed = 0;
  double rate = 0.5;
  bool relu = false;
  std::vector<std::string> shards;
  std::vector<double> drops = {25, 35};
};

template <class Field>
void describe(Options& options, Field&& field) {
  field("out", options.text, "a text");
  field("data.shards", options.shards, "repeatable");
  field("model.layers", options.layers, "a number");
  field("model.rate", options.rate, "a fraction");
  field("model.relu", options.relu, "true or false");
  field("model.drops", options.drops, "a list");
  field("train.seed", options.seed, "a large number");
}

struct Parsed {
  Options options;
  bool again = true;
  std::string ini;
};

Parsed parse(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& defaults = {}) {
  Parsed parsed;
  CommandLine line("test", "pixelbert test");
  line.add(parsed.options);
  line.set_defaults(defaults);
  parsed.again = line.parse(arguments);
  parsed.ini = line.ini();
  return parsed;
}

std::string message_of(const std::vector<std::string>& arguments) {
  try {
    parse(arguments);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(EarlyValue, IsWhatParsingWillFind) {
  const test::TemporaryFolder folder;
  const std::string first = folder.path() / "first.ini", second = folder.path() / "second.ini";
  write_file(first, "init = one\n[model]\nlayers = 3\n");
  write_file(second, "init = two\n");
  EXPECT_EQ(early_value({"--model.layers", "3"}, "init"), "");
  EXPECT_EQ(early_value({"--model.layers", "3", "--init", "x", "--text", "y"}, "init"), "x");
  EXPECT_EQ(early_value({"--init=x", "--init", "y"}, "init"), "y");
  EXPECT_EQ(early_value({"--config", first, "--config", second}, "init"), "two");
  EXPECT_EQ(early_value({"--config", first, "--init", "x"}, "init"), "x");
  EXPECT_EQ(early_value({"--config", first, "--init", ""}, "init"), "") << "random weights after all";
  EXPECT_EQ(early_value({"--config", folder.path() / "none.ini", "--init"}, "init"), "");
}

TEST(CommandLine, TakesDefaultsFromTheStruct) {
  const Options options = parse({}).options;
  EXPECT_EQ(options.layers, 12);
  EXPECT_EQ(options.drops, (std::vector<double>{25, 35}));
}

TEST(CommandLine, ReadsEveryType) {
  const Options options =
      parse({"--out", "x", "--model.layers", "3", "--model.rate=1e-3", "--model.relu", "true", "--data.shards", "one",
             "--data.shards", "two", "--model.drops", "1,2,3", "--train.seed", "18446744073709551615"})
          .options;
  EXPECT_EQ(options.text, "x");
  EXPECT_EQ(options.layers, 3);
  EXPECT_EQ(options.rate, 1e-3);
  EXPECT_TRUE(options.relu);
  EXPECT_EQ(options.shards, (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(options.drops, (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(options.seed, ~std::uint64_t{0});
}

TEST(CommandLine, PutsTheCommandLineAboveLaterFilesAboveEarlierFilesAboveTheCheckpoint) {
  const test::TemporaryFolder folder;
  write_file(folder.path() / "a.ini", "out = a\n[model]\nlayers = 1\nrate = 0.1\nrelu = true\n");
  write_file(folder.path() / "b.ini", "[model]\nlayers = 2\nrate = 0.2\n");
  const Options options =
      parse({"--config", folder.path() / "a.ini", "--config", folder.path() / "b.ini", "--model.layers", "3"},
            {{"model.relu", "false"}, {"train.seed", "7"}})
          .options;
  EXPECT_EQ(options.layers, 3);
  EXPECT_EQ(options.rate, 0.2);
  EXPECT_EQ(options.text, "a");
  EXPECT_TRUE(options.relu);
  EXPECT_EQ(options.seed, 7u);
}

TEST(CommandLine, PrintsAFileThatGivesTheSameConfiguration) {
  const test::TemporaryFolder folder;
  const Parsed first = parse({"--model.rate", "0.30000000000000004", "--data.shards", "one", "--data.shards", "two",
                              "--model.drops", "4,5", "--out", "with blanks = and such"});
  write_file(folder.path() / "c.ini", first.ini);
  const Parsed second = parse({"--config", folder.path() / "c.ini"});
  EXPECT_EQ(second.ini, first.ini);
  EXPECT_EQ(second.options.rate, first.options.rate);
  EXPECT_EQ(second.options.shards, first.options.shards);
}

TEST(CommandLine, TakesTheLastOfTwoValues) {
  const Options options = parse({"--model.layers", "3", "--model.rate", "1", "--model.layers", "4"}).options;
  EXPECT_EQ(options.layers, 4);
  EXPECT_EQ(options.rate, 1);
}

// Tries every character except NUL, which no argument holds, and the line break: first, in the middle, last, alone.
TEST(CommandLine, PrintsAFileThatGivesTheSameTextWhateverItsCharacters) {
  const test::TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "c.ini";
  std::vector<std::string> texts = {"",         " ",       "a # b", "\"",     "\"\"", "\\",  "\\\"",         "\"a\" b",
                                    "a \"b\"",  "[model]", "a = b", "= b",    "#",    "; a", "\xEF\xBB\xBF", "\xC3\xA4",
                                    "\xFF\xFE", "a\\",     "\"a\\", "a\"#\\ "};
  for (int c = 1; c < 256; ++c) {
    if (c == '\n') continue;
    const std::string one(1, static_cast<char>(c));
    for (const std::string& text :
         {one, one + "x", "x" + one, "x" + one + "y", one + one, "\"" + one, one + "#" + one}) {
      texts.push_back(text);
    }
  }
  for (const std::string& text : texts) {
    const Parsed first = parse({"--out", text, "--data.shards", text, "--data.shards", "next"});
    ASSERT_EQ(first.options.text, text);
    std::ofstream(file) << first.ini;
    const Parsed second = parse({"--config", file});
    EXPECT_EQ(second.options.text, text) << first.ini;
    EXPECT_EQ(second.options.shards, (std::vector<std::string>{text, "next"})) << first.ini;
    EXPECT_EQ(second.ini, first.ini);
    EXPECT_EQ(early_value({"--config", file}, "out"), text);
  }
}

TEST(CommandLine, RefusesAValueThatAFileCannotHold) {
  EXPECT_THAT(message_of({"--out", "a\nb"}), HasSubstr("--out: a configuration file cannot hold a value with a line"));
}

TEST(CommandLine, TakesWhatACheckpointSaysAsItStands) {
  EXPECT_EQ(parse({}, {{"out", " a # \"b\" "}, {"data.shards", "one #1\n two"}}).options.text, " a # \"b\" ");
  EXPECT_EQ(parse({}, {{"data.shards", "one #1\n two"}}).options.shards, (std::vector<std::string>{"one #1", " two"}));
}

TEST(CommandLine, RefusesAnUnknownOptionNamingTheNearest) {
  EXPECT_THAT(message_of({"--model.layerz", "3"}), HasSubstr("unknown option '--model.layerz'"));
  EXPECT_THAT(message_of({"--model.layerz", "3"}), HasSubstr("did you mean 'model.layers'?"));
  EXPECT_THAT(message_of({"--layers", "3"}), HasSubstr("did you mean 'model.layers'?"));
}

TEST(CommandLine, RefusesAnAbbreviatedFlag) {
  EXPECT_THAT(message_of({"--model.laye", "3"}), HasSubstr("unknown option"));
}

TEST(CommandLine, RefusesAnUnknownKeyOfAFileNamingTheFile) {
  const test::TemporaryFolder folder;
  write_file(folder.path() / "bad.ini", "[model]\nlayer = 3\n");
  const std::string message = message_of({"--config", folder.path() / "bad.ini"});
  EXPECT_THAT(message, HasSubstr("bad.ini"));
  EXPECT_THAT(message, HasSubstr("model.layer"));
  EXPECT_THAT(message, HasSubstr("did you mean 'model.layers'?"));
}

TEST(CommandLine, RefusesWhatIsNotAValueOfItsType) {
  EXPECT_THAT(message_of({"--model.layers", "three"}), HasSubstr("model.layers"));
  EXPECT_THAT(message_of({"--model.layers", "3.5"}), HasSubstr("model.layers"));
  EXPECT_THAT(message_of({"--model.rate", "fast"}), HasSubstr("model.rate"));
  EXPECT_THAT(message_of({"--model.drops", "1,x"}), HasSubstr("model.drops"));
  EXPECT_THAT(message_of({"--model.layers"}), HasSubstr("model.layers"));
  EXPECT_THAT(message_of({"--train.seed", "-1"}), HasSubstr("train.seed"));
}

TEST(CommandLine, NamesTheOptionAndWhatItExpectsForEachTextThatIsNoNumber) {
  const std::map<std::string, std::vector<std::string>> wrong = {
      {"model.layers",
       {"", " ", "1e3", "3.0", "0x10", "3 ", " 3", "3x", "--3", "+-3", "++3", "9223372036854775808",
        "-9223372036854775809", "1_000", "1,000", "nan", "inf", "true", "\xD9\xA3"}},
      {"model.rate",
       {"", " ", "1e", "1e400", "-1e400", "0x1p3", "nan", "-nan", "inf", "-inf", "infinity", "1,5", "1.5 ", "1.5.0",
        "a"}},
      {"model.relu", {"", " ", "2", "tru", "true ", "none"}},
      {"model.drops", {"a", "1,", ",1", "1,,2", "1;2", "1.5.0", "1e400", "nan", "1 2"}},
      {"train.seed", {"", "-1", "1e3", "0x10", "18446744073709551616", "1.0"}}};
  for (const auto& [name, texts] : wrong) {
    for (const std::string& text : texts) {
      if (name == "model.drops" && text == "1,") continue;  // lists are often written so
      const std::string expected = fmt::format("--{} expects ", name);
      EXPECT_THAT(message_of({"--" + name, text}), testing::StartsWith(expected)) << text;
      EXPECT_THAT(message_of({"--" + name, text}), testing::EndsWith(fmt::format("found '{}'", text)));
    }
  }
}

TEST(CommandLine, ReadsEveryWayToWriteANumber) {
  EXPECT_EQ(parse({"--model.layers", "+3"}).options.layers, 3);
  EXPECT_EQ(parse({"--model.layers", "-9223372036854775808"}).options.layers, std::numeric_limits<std::int64_t>::min());
  for (const char* text : {"0.25", ".25", "+0.25", "25e-2", "2.5E-1", "0.250"}) {
    EXPECT_EQ(parse({"--model.rate", text}).options.rate, 0.25) << text;
  }
  EXPECT_EQ(parse({"--model.rate", "-1"}).options.rate, -1);
  EXPECT_EQ(parse({"--model.drops", "1, 2.5,3"}).options.drops, (std::vector<double>{1, 2.5, 3}));
  EXPECT_TRUE(parse({"--model.drops", ""}).options.drops.empty());
  for (const char* text : {"true", "True", "yes", "on", "1"}) EXPECT_TRUE(parse({"--model.relu", text}).options.relu);
}

TEST(CommandLine, RefusesAWordThatBelongsToNoOption) {
  EXPECT_THAT(message_of({"stray"}), HasSubstr("stray"));
}

TEST(CommandLine, NamesEverythingThatItDoesNotUnderstandAndTakesTheRest) {
  const test::TemporaryFolder folder;
  write_file(folder.path() / "bad.ini", "[model]\nlayer = 3\nrate = 2\n[train]\nseed = -1\n");
  Options options;
  CommandLine line("test", "pixelbert test");
  line.add(options);
  const std::vector<std::string> arguments = {
      "--model.layerz", "3", "stray", "--model.layers", "three", "--config", folder.path() / "bad.ini", "--out", "x"};
  try {
    line.parse(arguments);
    FAIL() << "expected a UsageError";
  } catch (const UsageError& error) {
    for (const char* expected : {"--model.layerz", "'stray'", "three", "'model.layer'", "--train.seed"}) {
      EXPECT_THAT(error.what(), HasSubstr(expected));
    }
    EXPECT_EQ(std::ranges::count(std::string(error.what()), '\n'), 4);
  }
  EXPECT_EQ(options.text, "x");
  EXPECT_EQ(options.rate, 2);
}

TEST(CommandLine, NamesFileAndLineOfWhatItDoesNotUnderstand) {
  const test::TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "bad.ini";
  const auto message = [&](const std::string& content) {
    write_file(file, content);
    return message_of({"--config", file});
  };
  EXPECT_THAT(message("\n[model]\nlayers = many\n"),
              HasSubstr("bad.ini, line 3: --model.layers expects a whole number"));
  EXPECT_THAT(message("layers = 3\n"), HasSubstr("line 1: unknown key 'layers'"));
  EXPECT_THAT(message("layers = 3\n"), HasSubstr("did you mean 'model.layers'?"));
  EXPECT_THAT(message("[model]\nlayers = 3\n\nlayers = 4\n"),
              HasSubstr("line 4: 'model.layers' already has a value, in line 2"));
  for (const char* key : {"config", "help", "print-config"}) {  // apply to one call
    EXPECT_THAT(message(fmt::format("{} = x\n", key)), HasSubstr(fmt::format("unknown key '{}'", key)));
  }
}

TEST(CommandLine, NamesAMissingFile) {
  EXPECT_THAT(message_of({"--config", "/no/such.ini"}), HasSubstr("/no/such.ini"));
}

TEST(CommandLine, HasNothingLeftToDoAfterHelp) {
  testing::internal::CaptureStdout();
  EXPECT_FALSE(parse({"--help"}).again);
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("--model.layers"));
}

}  // namespace
}  // namespace pixelbert::config
