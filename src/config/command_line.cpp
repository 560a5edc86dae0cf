#include "config/command_line.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <cctype>
#include <charconv>
#include <cmath>
#include <functional>
#include <iostream>
#include <optional>
#include <set>
#include <sstream>
#include <type_traits>

#include "config/ini_file.h"
#include "config/nearest_name.h"
#include "core/problems.h"
#include "core/text_lines.h"

namespace pixelbert::config {
namespace po = boost::program_options;
namespace {

// Boost's default style without guessing and without case-insensitivity.
constexpr int kStyle = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;

// Returns the whole of `text` as a number. Boost would take -1 for 18446744073709551615, and infinity for a number.
template <class Number>
Number parse_number(const std::string& name, const std::string& text, const char* expected) {
  Number value{};
  const char* const end = text.data() + text.size();
  const char* const digits = text.data() + (text.starts_with('+') && !text.starts_with("+-") ? 1 : 0);
  const auto [used, error] = std::from_chars(digits, end, value);
  bool sound = error == std::errc() && used == end;
  if constexpr (std::is_floating_point_v<Number>) sound = sound && std::isfinite(value);
  if (!sound) throw UsageError(fmt::format("--{} expects {}, found '{}'", name, expected, text));
  return value;
}

std::int64_t parse_whole(const std::string& name, const std::string& text) {
  return parse_number<std::int64_t>(name, text, "a whole number from -2^63 to 2^63 - 1");
}

std::uint64_t parse_unsigned(const std::string& name, const std::string& text) {
  return parse_number<std::uint64_t>(name, text, "a whole number from 0 to 2^64 - 1");
}

double parse_double(const std::string& name, const std::string& text) {
  return parse_number<double>(name, text, "a number such as 0.1 or 1e-3");
}

bool parse_bool(const std::string& name, const std::string& text) {
  std::string lower = text;
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* word : {"true", "yes", "on", "1"}) {
    if (lower == word) return true;
  }
  for (const char* word : {"false", "no", "off", "0"}) {
    if (lower == word) return false;
  }
  throw UsageError(fmt::format("--{} expects true or false, found '{}'", name, text));
}

std::vector<double> parse_list(const std::string& name, const std::string& text) {
  std::vector<double> values;
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, ',');) {
    item.erase(0, item.find_first_not_of(' '));
    try {
      values.push_back(parse_double(name, item));
    } catch (const UsageError&) {
      throw UsageError(fmt::format("--{} expects numbers separated by commas (25,35.5), found '{}'", name, text));
    }
  }
  return values;
}

std::string with_nearest(const std::string& message, const std::string& name, const std::vector<std::string>& known) {
  const std::string near = nearest_name(name, known);
  return near.empty() ? message : fmt::format("{}; did you mean '{}'?", message, near);
}

}  // namespace

struct CommandLine::Impl {
  using Texts = std::vector<std::string>;

  struct Option {
    std::string name;
    std::function<Texts()> print;            // one string per line of the file
    std::function<void(const Texts&)> take;  // throws UsageError for a wrong value
    bool in_file = true;                     // flags belong to one call, not to a configuration
    bool repeatable = false;
  };

  std::string command;
  std::string summary;
  po::options_description description;
  std::vector<Option> options;
  std::set<std::string> given;  // by the user
  std::map<std::string, std::string> checkpoint_values;

  Texts names() const {
    Texts names;
    for (const Option& option : options) names.push_back(option.name);
    return names;
  }

  const Option* find(const std::string& name) const {
    const auto found = std::ranges::find(options, name, &Option::name);
    return found == options.end() ? nullptr : &*found;
  }

  // An option that already has a value keeps it, so the caller stores first what takes precedence.
  void store(const std::string& name, const Texts& values, const std::string& where, Problems& problems) {
    if (!given.insert(name).second) return;
    try {
      find(name)->take(values);
    } catch (const UsageError& error) {
      problems.add(one_line(where + error.what()));
    }
  }

  void store_file(const std::string& path, Problems& problems) {
    std::map<std::string, std::pair<Texts, std::int64_t>> lines;  // values and the last line
    for (IniValue& item : read_ini(path)) {
      item.name = current_name(item.name);
      const Option* option = find(item.name);
      const std::string where = fmt::format("{}, line {}: ", path, item.line);
      if (!option) {
        problems.add(with_nearest(fmt::format("{}unknown key '{}' for 'pixelbert {}'", where, item.name, command),
                                  item.name, names()));
        continue;
      }
      auto& [values, line] = lines[item.name];
      if (!values.empty() && !option->repeatable) {
        problems.add(fmt::format("{}'{}' already has a value, in line {}", where, item.name, line));
      }
      values.push_back(std::move(item.value));
      line = item.line;
    }
    for (const auto& [name, found] : lines) {
      store(name, found.first, fmt::format("{}, line {}: ", path, found.second), problems);
    }
  }

  void store_checkpoint(Problems& problems) {
    const std::set<std::string> by_user = given;
    for (const auto& [name, text] : checkpoint_values) {
      constexpr const char* kWhere = "the checkpoint's configuration: ";
      if (!find(name)) {
        problems.add(
            with_nearest(fmt::format("{}unknown key '{}' for 'pixelbert {}'", kWhere, name, command), name, names()));
        continue;
      }
      Texts values;
      std::istringstream lines(text);
      for (std::string line; std::getline(lines, line);) values.push_back(line);
      if (!values.empty()) store(name, values, kWhere, problems);
    }
    given = by_user;
  }

  // Reads the command line. Leaves out words that are not options, and names them in `problems`.
  std::vector<po::option> read_words(Texts words, Problems& problems) const {
    for (std::string& word : words) {
      if (!word.starts_with("--")) continue;
      const std::string name = word.substr(2, word.find('=') - 2);
      word.replace(2, name.size(), current_name(name));
    }
    constexpr const char* kStray = "no option";  // takes words that belong to no option, so that they can be named
    const std::string where = "pixelbert " + command;
    po::options_description all;
    all.add(description).add_options()(kStray, po::value<Texts>());
    std::vector<po::option> words_of;
    try {
      words_of = po::command_line_parser(words)
                     .options(all)
                     .positional(po::positional_options_description().add(kStray, -1))
                     .style(kStyle)
                     .allow_unregistered()
                     .run()
                     .options;
    } catch (const po::error& error) {
      problems.add(fmt::format("{}: {}", where, error.what()));
    }
    Texts known = names();
    known.insert(known.end(), {"config", "print-config", "help"});
    std::vector<po::option> kept;
    bool value_of_unknown = false;
    for (po::option& option : words_of) {
      const bool stray = option.position_key >= 0;
      if (stray && !value_of_unknown) {
        problems.add(fmt::format("{}: '{}' belongs to no option", where, option.value.at(0)));
      }
      value_of_unknown = option.unregistered && option.value.empty();
      if (option.unregistered) {
        const std::string name = option.string_key.substr(option.string_key.find_first_not_of('-'));
        problems.add(with_nearest(fmt::format("unknown option '--{}' for 'pixelbert {}'", name, command), name, known));
      }
      if (!stray && !option.unregistered) kept.push_back(std::move(option));
    }
    return kept;
  }
};

CommandLine::CommandLine(std::string command, std::string summary) : impl_(std::make_unique<Impl>()) {
  impl_->command = std::move(command);
  impl_->summary = std::move(summary);
  impl_->description.add_options()(
      "config", po::value<std::vector<std::string>>(),
      "read options from an INI file; repeatable, later wins, the command line wins over all")(
      "print-config", "print the resolved configuration as an INI file and stop")("help", "print this and stop");
}

CommandLine::~CommandLine() = default;

// Boost splits the command line and prints the help. All options are texts to it, because parsing them here gives
// messages that say what was expected.
void CommandLine::option(const char* name, std::string& value, const char* help) {
  add_option(name, help, [&value] { return value; }, [&value](const std::string& text) { value = text; });
}

void CommandLine::option(const char* name, std::int64_t& value, const char* help) {
  add_option(
      name, help, [&value] { return fmt::to_string(value); },
      [name, &value](const std::string& text) { value = parse_whole(name, text); });
}

void CommandLine::option(const char* name, std::uint64_t& value, const char* help) {
  add_option(
      name, help, [&value] { return fmt::to_string(value); },
      [name, &value](const std::string& text) { value = parse_unsigned(name, text); });
}

void CommandLine::option(const char* name, double& value, const char* help) {
  add_option(
      name, help, [&value] { return fmt::to_string(value); },
      [name, &value](const std::string& text) { value = parse_double(name, text); });
}

void CommandLine::option(const char* name, bool& value, const char* help) {
  add_option(
      name, help, [&value] { return std::string(value ? "true" : "false"); },
      [name, &value](const std::string& text) { value = parse_bool(name, text); });
}

void CommandLine::option(const char* name, std::vector<double>& value, const char* help) {
  add_option(
      name, help, [&value] { return fmt::to_string(fmt::join(value, ",")); },
      [name, &value](const std::string& text) { value = parse_list(name, text); });
}

void CommandLine::option(const char* name, std::vector<std::string>& value, const char* help) {
  impl_->description.add_options()(name, po::value<std::vector<std::string>>(), help);
  impl_->options.push_back({.name = name,
                            .print = [&value] { return value; },
                            .take = [&value](const std::vector<std::string>& texts) { value = texts; },
                            .repeatable = true});
}

void CommandLine::choice(const char* name, const char* help, const std::vector<std::string_view>& names,
                         std::function<std::size_t()> print, std::function<void(std::size_t)> take) {
  add_option(
      name, help, [names, print] { return std::string(names[print()]); },
      [name, names, take](const std::string& text) {
        const auto found = std::ranges::find(names, text);
        if (found == names.end()) {
          throw UsageError(fmt::format("--{} must be one of {}, found '{}'", name, fmt::join(names, ", "), text));
        }
        take(static_cast<std::size_t>(found - names.begin()));
      });
}

void CommandLine::flag(const char* name, bool& value, const char* help) {
  impl_->description.add_options()(name, po::bool_switch(), help);
  impl_->options.push_back(
      {.name = name,
       .print = [] { return std::vector<std::string>{}; },
       .take = [name, &value](
                   const std::vector<std::string>& texts) { value = texts.empty() || parse_bool(name, texts.back()); },
       .in_file = false});
}

void CommandLine::add_option(const char* name, const char* help, std::function<std::string()> print,
                             std::function<void(const std::string&)> take) {
  impl_->description.add_options()(name, po::value<std::string>()->default_value(print()), help);
  impl_->options.push_back({.name = name,
                            .print = [print] { return std::vector<std::string>{print()}; },
                            .take = [take](const std::vector<std::string>& texts) { take(texts.back()); }});
}

bool CommandLine::parse(const Arguments& arguments) {
  Problems problems;
  std::map<std::string, std::vector<std::string>> words;  // an option may be given twice: scripts append to a command
  for (const po::option& option : impl_->read_words(arguments, problems)) {
    auto& values = words[option.string_key];
    values.insert(values.end(), option.value.begin(), option.value.end());
  }
  for (const auto& [name, values] : words) {
    if (impl_->find(name)) impl_->store(name, values, "", problems);
  }
  const std::vector<std::string>& files = words["config"];
  for (auto file = files.rbegin(); file != files.rend(); ++file) {
    problems.collect([&] { impl_->store_file(*file, problems); });
  }
  impl_->store_checkpoint(problems);

  if (words.contains("help")) {
    std::cout << impl_->summary << "\n\n" << impl_->description << std::flush;
    return false;
  }
  problems.throw_if_any();
  if (words.contains("print-config")) {
    std::cout << ini() << std::flush;
    return false;
  }
  return true;
}

void CommandLine::set_defaults(const std::map<std::string, std::string>& values) {
  impl_->checkpoint_values = values;
}

bool CommandLine::given(const std::string& name) const {
  return impl_->given.contains(name);
}

std::map<std::string, std::string> CommandLine::values() const {
  std::map<std::string, std::string> values;
  for (const Impl::Option& option : impl_->options) {
    if (option.in_file) values[option.name] = fmt::to_string(fmt::join(option.print(), "\n"));
  }
  return values;
}

std::string CommandLine::ini() const {
  // Keys without a section come first: the format has no way back to "no section".
  std::string top, sections, section;
  for (const Impl::Option& option : impl_->options) {
    if (!option.in_file) continue;
    const std::size_t dot = option.name.find('.');
    const std::string prefix = dot == std::string::npos ? "" : option.name.substr(0, dot);
    std::string& out = prefix.empty() ? top : sections;
    if (!prefix.empty() && prefix != section) out += fmt::format("\n[{}]\n", section = prefix);
    for (const std::string& value : option.print()) {
      if (value.find('\n') != std::string::npos) {
        throw UsageError(fmt::format("--{}: a configuration file cannot hold a value with a line break, found '{}'",
                                     option.name, value));
      }
      out += fmt::format("{} = {}\n", prefix.empty() ? option.name : option.name.substr(dot + 1), ini_text(value));
    }
  }
  return top + sections;
}

std::string early_value(const Arguments& arguments, const std::string& option) {
  po::options_description known;
  known.add_options()(option.c_str(), po::value<std::string>())("config", po::value<std::string>());
  try {
    const auto given =
        po::command_line_parser(arguments).options(known).style(kStyle).allow_unregistered().run().options;
    std::optional<std::string> value;  // an empty one is a value, too
    for (const po::option& one : given) {
      if (one.string_key == option && !one.value.empty()) value = one.value.back();
    }
    for (auto file = given.rbegin(); !value && file != given.rend(); ++file) {
      if (file->string_key != "config" || file->value.empty()) continue;
      for (const IniValue& item : read_ini(file->value.back())) {
        if (item.name == option) value = item.value;
      }
    }
    return value.value_or("");
  } catch (const po::error&) {
    return "";
  } catch (const UsageError&) {
    return "";
  }
}

std::optional<double> early_number(const Arguments& arguments, const std::string& option) {
  const std::string text = early_value(arguments, option);
  if (text.empty()) return std::nullopt;
  try {
    return parse_double(option, text);
  } catch (const UsageError&) {
    return std::nullopt;
  }
}

}  // namespace pixelbert::config
