#include "config/ini_file.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

#include "core/activity.h"
#include "core/check.h"
#include "core/text_lines.h"

namespace pixelbert::config {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 20;  // a thousand times what --print-config prints
constexpr std::size_t kLongestName = 100;
constexpr std::string_view kBlanks = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  return first == text.npos ? "" : text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

std::string read_text(const std::filesystem::path& path) {
  activity::reading(path);
  const auto refuse = [&](const std::string& why) {
    throw UsageError(fmt::format("--config {}: {}", path.string(), why));
  };
  std::error_code no_answer;  // opening the file reports why
  const std::filesystem::file_status status = std::filesystem::status(path, no_answer);
  if (std::filesystem::is_directory(status)) refuse("expected a file, found a folder");
  if (std::filesystem::is_fifo(status) || std::filesystem::is_socket(status)) {
    refuse("expected a file, found a pipe, which can be read only once");
  }
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) refuse(fmt::format("cannot open the file: {}", std::strerror(errno)));
  std::string text(kMostBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) refuse(fmt::format("cannot read the file: {}", std::strerror(errno)));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > kMostBytes) refuse("expected a configuration, found a file of more than 1 MiB");
  return std::string(without_byte_order_mark(text));
}

// Returns the text between quotes; nothing if the second quote is missing or something follows it.
std::optional<std::string> unquoted(std::string_view text) {
  std::string value;
  std::size_t at = 1;
  for (; at < text.size() && text[at] != '"'; ++at) {
    const bool escape = text[at] == '\\' && at + 1 < text.size() && (text[at + 1] == '"' || text[at + 1] == '\\');
    if (escape) ++at;
    value += text[at];
  }
  if (at >= text.size()) return std::nullopt;
  const std::string_view behind = trimmed(text.substr(at + 1));
  if (!behind.empty() && behind.front() != '#') return std::nullopt;
  return value;
}

}  // namespace

std::vector<IniValue> read_ini(const std::filesystem::path& path) {
  std::vector<IniValue> values;
  std::string section;
  std::int64_t number = 0;
  std::istringstream lines(read_text(path));
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const auto require = [&](bool holds, std::string_view what) {
      if (holds) return;
      throw UsageError(
          fmt::format("{}, line {}: {}, found '{}'", path.string(), number, what, one_line(trimmed(line), 60)));
    };
    require(line.find('\0') == line.npos, "expected text in UTF-8");
    const auto require_name = [&](std::string_view name) {
      require(std::ranges::none_of(name, [](unsigned char c) { return std::iscntrl(c); }),
              "expected a name without control characters");
    };
    const std::string_view text = trimmed(line);
    const std::string_view before_comment = trimmed(text.substr(0, text.find('#')));
    if (before_comment.empty()) continue;
    if (before_comment.front() == '[') {
      require(before_comment.back() == ']', "expected a section as in '[model]'");
      section = trimmed(before_comment.substr(1, before_comment.size() - 2));
      require(!section.empty(), "expected a section as in '[model]'");
      require_name(section);
      continue;
    }
    const std::size_t equals = before_comment.find('=');
    require(equals != text.npos && equals <= kLongestName, "expected '[section]', 'key = value' or '# comment'");
    const std::string key(trimmed(text.substr(0, equals)));
    require_name(key);
    const std::string_view behind = trimmed(text.substr(equals + 1));
    IniValue value{.name = section.empty() ? key : section + "." + key, .value = {}, .line = number};
    if (behind.starts_with('"')) {
      const std::optional<std::string> inside = unquoted(behind);
      require(inside.has_value(),
              R"(expected a value that ends with the quote it begins with (inside, \" is a quote))");
      value.value = *inside;
    } else {
      value.value = trimmed(behind.substr(0, behind.find('#')));
    }
    values.push_back(std::move(value));
  }
  return values;
}

std::string ini_text(std::string_view value) {
  if (value == trimmed(value) && !value.starts_with('"') && value.find('#') == value.npos) return std::string(value);
  std::string text = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text + '"';
}

}  // namespace pixelbert::config
