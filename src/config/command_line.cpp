#include "config/command_line.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>
#include <fstream>
#include <functional>
#include <iostream>
#include <numeric>
#include <set>
#include <sstream>

#include "core/activity.h"
#include "core/problems.h"

namespace pixelbert::config {
namespace po = boost::program_options;
namespace {

// Boost's default style without guessing and without case-insensitivity.
constexpr int kStyle = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;

std::vector<std::int64_t> parse_list(const std::string& name, const std::string& text) {
  std::vector<std::int64_t> values;
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, ',');) {
    std::size_t used = 0;
    std::int64_t value = 0;
    try {
      value = std::stoll(item, &used);
    } catch (const std::exception&) {
      used = 0;
    }
    if (used == 0 || used != item.size()) {
      throw UsageError(fmt::format("--{} expects whole numbers separated by commas (25,35), found '{}'", name, text));
    }
    values.push_back(value);
  }
  return values;
}

// Boost would take -1 for 18446744073709551615.
std::uint64_t parse_unsigned(const std::string& name, const std::string& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw UsageError(fmt::format("--{} expects a whole number from 0 to 2^64 - 1, found '{}'", name, text));
  }
  return value;
}

std::string with_nearest(const std::string& message, const std::string& name, const std::vector<std::string>& known) {
  const std::string near = nearest_name(name, known);
  return near.empty() ? message : fmt::format("{}; did you mean '{}'?", message, near);
}

}  // namespace

struct CommandLine::Impl {
  struct Option {
    std::string name;
    std::function<std::vector<std::string>()> print;  // one string per line of the file
    std::function<void()> assign = [] {};             // after parsing, for types Boost does not read by itself
    bool in_file = true;                              // flags belong to one call, not to a configuration
    bool repeatable = false;
  };

  std::string command;
  std::string summary;
  po::options_description description;
  std::vector<Option> options;
  po::variables_map map;
  std::map<std::string, std::string> checkpoint_values;

  std::vector<std::string> names() const {
    std::vector<std::string> names = {"config", "print-config", "help"};
    for (const Option& option : options) names.push_back(option.name);
    return names;
  }

  // An option that is given twice has its last value, so that scripts can append to a command.
  void keep_last(std::vector<po::option>& given) const {
    std::set<std::string> later = {};
    for (auto option = given.end(); option != given.begin();) {
      --option;
      const bool once = std::ranges::any_of(
          options, [&](const Option& known) { return known.name == option->string_key && !known.repeatable; });
      if (once && !later.insert(option->string_key).second) option = given.erase(option);
    }
  }

  // Boost keeps what was stored first. Option by option, because it gives up at the first bad value.
  void store(const std::vector<po::option>& given, const std::string& where, Problems& problems) {
    std::map<std::string, std::vector<po::option>> by_name;
    for (const po::option& option : given) by_name[option.string_key].push_back(option);
    for (const auto& [name, values] : by_name) {
      po::parsed_options one(&description);
      one.options = values;
      try {
        po::store(one, map);
      } catch (const po::error& error) {
        problems.add(fmt::format("{}: {}", where, error.what()));
      }
    }
  }

  void store_file(std::istream& in, const std::string& path, Problems& problems) {
    try {
      std::vector<po::option> given = po::parse_config_file(in, description, /*allow_unregistered=*/true).options;
      std::erase_if(given, [&](const po::option& option) {
        if (!option.unregistered) return false;
        problems.add(
            with_nearest(fmt::format("{}: unknown key '{}' for 'pixelbert {}'", path, option.string_key, command),
                         option.string_key, names()));
        return true;
      });
      store(given, path, problems);
    } catch (const po::error& error) {
      problems.add(fmt::format("{}: {}", path, error.what()));
    }
  }

  void store_words(const std::vector<std::string>& words, Problems& problems) {
    constexpr const char* kStray = "no option";  // takes the words that belong to none, so that they can be named
    const std::string where = "pixelbert " + command;
    po::options_description all;
    all.add(description).add_options()(kStray, po::value<std::vector<std::string>>());
    std::vector<po::option> given;
    try {
      given = po::command_line_parser(words)
                  .options(all)
                  .positional(po::positional_options_description().add(kStray, -1))
                  .style(kStyle)
                  .allow_unregistered()
                  .run()
                  .options;
    } catch (const po::error& error) {
      problems.add(fmt::format("{}: {}", where, error.what()));
    }
    bool value_of_unknown = false;
    std::erase_if(given, [&](const po::option& option) {
      const bool stray = option.position_key >= 0;
      if (stray && !value_of_unknown) {
        problems.add(fmt::format("{}: '{}' belongs to no option", where, option.value.at(0)));
      }
      value_of_unknown = option.unregistered && option.value.empty();
      if (option.unregistered) {
        const std::string name = option.string_key.substr(option.string_key.find_first_not_of('-'));
        problems.add(
            with_nearest(fmt::format("unknown option '--{}' for 'pixelbert {}'", name, command), name, names()));
      }
      return stray || option.unregistered;
    });
    keep_last(given);
    store(given, where, problems);
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

namespace {

template <class T>
auto value_of(T& value, const std::string& shown) {
  return po::value<T>(&value)->default_value(value, shown);
}

}  // namespace

void CommandLine::option(const char* name, std::string& value, const char* help) {
  impl_->description.add_options()(name, value_of(value, value), help);
  impl_->options.push_back({name, [&value] { return std::vector{value}; }});
}

void CommandLine::option(const char* name, std::int64_t& value, const char* help) {
  impl_->description.add_options()(name, value_of(value, fmt::to_string(value)), help);
  impl_->options.push_back({name, [&value] { return std::vector{fmt::to_string(value)}; }});
}

void CommandLine::option(const char* name, std::uint64_t& value, const char* help) {
  const auto text = std::make_shared<std::string>(fmt::to_string(value));
  impl_->description.add_options()(name, value_of(*text, *text), help);
  impl_->options.push_back({name, [&value] { return std::vector{fmt::to_string(value)}; },
                            [name, text, &value] { value = parse_unsigned(name, *text); }});
}

void CommandLine::option(const char* name, double& value, const char* help) {
  impl_->description.add_options()(name, value_of(value, fmt::to_string(value)), help);
  impl_->options.push_back({name, [&value] { return std::vector{fmt::to_string(value)}; }});
}

void CommandLine::option(const char* name, bool& value, const char* help) {
  impl_->description.add_options()(name, value_of(value, value ? "true" : "false"), help);
  impl_->options.push_back({name, [&value] { return std::vector<std::string>{value ? "true" : "false"}; }});
}

void CommandLine::option(const char* name, std::vector<std::string>& value, const char* help) {
  impl_->description.add_options()(name, po::value<std::vector<std::string>>(&value), help);
  impl_->options.push_back({name, [&value] { return value; }, [] {}, true, true});
}

void CommandLine::option(const char* name, std::vector<std::int64_t>& value, const char* help) {
  const auto text = std::make_shared<std::string>(fmt::to_string(fmt::join(value, ",")));
  impl_->description.add_options()(name, value_of(*text, *text), help);
  impl_->options.push_back({name, [&value] { return std::vector{fmt::to_string(fmt::join(value, ","))}; },
                            [name, text, &value] { value = parse_list(name, *text); }});
}

void CommandLine::flag(const char* name, bool& value, const char* help) {
  impl_->description.add_options()(name, po::bool_switch(&value), help);
  impl_->options.push_back({name, [] { return std::vector<std::string>{}; }, [] {}, false});
}

bool CommandLine::parse(const std::vector<std::string>& arguments) {
  Problems problems;
  impl_->store_words(arguments, problems);
  if (impl_->map.count("config")) {
    const auto files = impl_->map["config"].as<std::vector<std::string>>();
    for (auto file = files.rbegin(); file != files.rend(); ++file) {
      activity::reading(*file);
      std::ifstream in(*file);
      if (in) {
        impl_->store_file(in, *file, problems);
      } else {
        problems.add(fmt::format("--config {}: cannot open the file", *file));
      }
    }
  }
  std::string stored;
  for (const auto& [name, value] : impl_->checkpoint_values) {
    if (given(name)) continue;
    std::istringstream lines(value);
    for (std::string line; std::getline(lines, line);) stored += fmt::format("{} = {}\n", name, line);
  }
  std::istringstream in(stored);
  impl_->store_file(in, "the checkpoint's configuration", problems);

  if (impl_->map.count("help")) {
    std::cout << impl_->summary << "\n\n" << impl_->description << std::flush;
    return false;
  }
  po::notify(impl_->map);
  for (const Impl::Option& option : impl_->options) problems.collect(option.assign);
  problems.throw_if_any();
  if (impl_->map.count("print-config")) {
    std::cout << ini() << std::flush;
    return false;
  }
  return true;
}

void CommandLine::set_defaults(const std::map<std::string, std::string>& values) {
  impl_->checkpoint_values = values;
}

bool CommandLine::given(const std::string& name) const {
  return impl_->map.count(name) != 0 && !impl_->map[name].defaulted();
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
    for (const std::string& line : option.print()) {
      if (line.find('#') != std::string::npos) {
        throw UsageError(
            fmt::format("--{} {}: a '#' would begin a comment in a configuration file", option.name, line));
      }
      out += fmt::format("{} = {}\n", prefix.empty() ? option.name : option.name.substr(dot + 1), line);
    }
  }
  return top + sections;
}

std::string early_value(const std::vector<std::string>& arguments, const std::string& option) {
  po::options_description known;
  known.add_options()(option.c_str(), po::value<std::string>())("config", po::value<std::string>());
  const auto last = [&](const std::vector<po::option>& given) {
    std::string value;
    for (const po::option& one : given) {
      if (one.string_key == option && !one.value.empty()) value = one.value.back();
    }
    return value;
  };
  try {
    const auto given =
        po::command_line_parser(arguments).options(known).style(kStyle).allow_unregistered().run().options;
    std::string value = last(given);
    for (auto file = given.rbegin(); value.empty() && file != given.rend(); ++file) {
      if (file->string_key != "config" || file->value.empty()) continue;
      activity::reading(file->value.back());
      std::ifstream in(file->value.back());
      value = last(po::parse_config_file(in, known, /*allow_unregistered=*/true).options);
    }
    return value;
  } catch (const po::error&) {
    return "";
  }
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& known) {
  const auto distance = [](std::string_view a, std::string_view b) {  // Levenshtein, one row at a time
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
      std::size_t diagonal = std::exchange(row[0], i);
      for (std::size_t j = 1; j <= b.size(); ++j) {
        const std::size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
      }
    }
    return row.back();
  };
  std::string best;
  std::size_t fewest = std::max<std::size_t>(3, name.size() / 3) + 1;
  for (const std::string& candidate : known) {
    // The section may have been left out: "--layers" for "--model.layers".
    const std::string_view last = std::string_view(candidate).substr(candidate.rfind('.') + 1);
    const std::size_t edits = std::min(distance(name, candidate), distance(name, last) + 1);
    if (edits < fewest) {
      fewest = edits;
      best = candidate;
    }
  }
  return best;
}

}  // namespace pixelbert::config
