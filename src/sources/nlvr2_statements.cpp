#include "sources/nlvr2_statements.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/check.h"
#include "sources/annotated_images.h"
#include "sources/json_fields.h"
#include "sources/json_stream.h"

namespace pixelbert::sources {
namespace {

using nlohmann::json;

// An id is set << 32 | images << 16 | sentence.
constexpr int kSetBits = 31, kImagesBits = 16, kSentenceBits = 16;
constexpr std::int64_t kSentenceMask = (std::int64_t{1} << kSentenceBits) - 1;
constexpr std::int64_t kImagesMask = ((std::int64_t{1} << kImagesBits) - 1) << kSentenceBits;

// 1 or 0; empty when the label is withheld.
std::vector<shards::Answer> label_of(const json& statement) {
  if (!statement.contains("label")) return {};
  std::string label = string_at(statement, "label");
  std::ranges::transform(label, label.begin(), [](unsigned char c) { return std::tolower(c); });
  PB_CHECK(label == "true" || label == "false", "expected the label \"True\" or \"False\", found {}",
           described(statement.at("label")));
  return {{label == "true" ? 1 : 0, 1, 1}};
}

// Removes the number after the last dash from `text` and returns it; -1 when there is none, or it needs more bits.
std::int64_t take_number(std::string_view& text, int bits) {
  const std::size_t dash = text.rfind('-');
  if (dash == text.npos) return -1;
  const std::string_view digits = text.substr(dash + 1);
  text = text.substr(0, dash);
  std::int64_t number = -1;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number >> bits == 0 ? number : -1;
}

// The archives have train's images in subfolders 0 to 99. A name contains the identifier of both images, so it is
// unique in any folder.
ImageName image_name(const json& statement, std::string_view identifier, int side) {
  const std::string name = fmt::format("{}-img{}.png", identifier.substr(0, identifier.rfind('-')), side);
  if (!has(statement, "directory")) return {name, Elsewhere::InAnySubfolder};
  const json& directory = statement.at("directory");
  PB_CHECK(directory.is_string() || directory.is_number(), "\"directory\": expected a number or a string, found {}",
           described(directory));
  return {fmt::format("{}/{}", directory.is_string() ? directory.get<std::string>() : directory.dump(), name),
          Elsewhere::InAnySubfolder};
}

}  // namespace

Nlvr2Identifier parse_nlvr2_identifier(std::string_view identifier) {
  std::string_view prefix = identifier;
  const std::int64_t sentence = take_number(prefix, kSentenceBits), images = take_number(prefix, kImagesBits),
                     set = take_number(prefix, kSetBits);
  if (!prefix.empty() && set >= 0 && images >= 0 && sentence >= 0) {
    const std::int64_t id = set << (kImagesBits + kSentenceBits) | images << kSentenceBits | sentence;
    if (nlvr2_identifier(prefix, id) == identifier) return {std::string(prefix), id};  // refuses "dev-1-02-3"
  }
  fail(fmt::format("expected an identifier such as dev-850-2-0 (split, set, pair, sentence), found '{}'", identifier));
}

std::string nlvr2_identifier(std::string_view prefix, std::int64_t id) {
  const std::int64_t set = id >> (kImagesBits + kSentenceBits), images = (id & kImagesMask) >> kSentenceBits,
                     sentence = id & kSentenceMask;
  return fmt::format("{}-{}-{}-{}", prefix, set, images, sentence);
}

std::int64_t nlvr2_sentence(std::int64_t id) {
  return id & ~kImagesMask;
}

Corpus read_nlvr2(const Nlvr2Options& options) {
  require_option("nlvr2", "statements FILE", !options.statements.empty());
  require_option("nlvr2", "images DIR", !options.images.empty());
  ImageFolder folder(options.images);

  shards::Manifest header;
  header.source = "nlvr2";
  header.task = "nlvr2";
  header.options["statements"] = joined_names(options.statements);
  AnnotatedImages images(std::move(header));
  std::string prefix;
  for (const std::string& file : options.statements) {
    images.begin_file(file);
    images.count_repaired(for_each_line(file, [&](const json& statement) {
      const std::string& identifier = string_at(statement, "identifier");
      const Nlvr2Identifier parsed = parse_nlvr2_identifier(identifier);
      if (prefix.empty()) prefix = parsed.prefix;
      PB_CHECK(parsed.prefix == prefix, "'{}' is of another split than '{}': make a shard folder for each", identifier,
               prefix);
      const std::int64_t both = parsed.id >> kSentenceBits;
      images.add_two_images(both, image_name(statement, identifier, 0), image_name(statement, identifier, 1));
      images.add_text(both,
                      {parsed.id, string_at(statement, "sentence"), label_of(statement), nlvr2_sentence(parsed.id)});
    }));
  }
  Corpus corpus = std::move(images).corpus(std::move(folder));
  corpus.header.options["identifiers"] = prefix;
  return corpus;
}

}  // namespace pixelbert::sources
