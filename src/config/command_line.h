// Options of one command, from `--config FILE.ini` (repeatable, later wins) and then the command line.
//
// An option is written once, in the describe() beneath the struct that uses it:
//   field("optim.backbone-rate", config.backbone_rate, "learning rate of the CNN");
// Dots in a name are sections of the file (ini_file.h). Names are never abbreviated; an unknown one is refused with the
// nearest known name.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/option.h"

namespace pixelbert::config {

using Arguments = std::vector<std::string>;  // behind the command's name

class CommandLine {
 public:
  CommandLine(std::string command, std::string summary);
  ~CommandLine();

  // Registers the options of a struct; their present values are the defaults. The struct outlives the parsing.
  template <class Config>
  void add(Config& config) {
    describe(config, [this](const char* name, auto& value, const char* help, OnResume on_resume = OnResume::Same) {
      this->option(name, value, help);
      if (on_resume == OnResume::Free) this->free_on_resume_.insert(name);
    });
  }

  void option(const char* name, std::string& value, const char* help);
  void option(const char* name, std::int64_t& value, const char* help);
  void option(const char* name, std::uint64_t& value, const char* help);
  void option(const char* name, double& value, const char* help);
  void option(const char* name, bool& value, const char* help);                       // true or false
  void option(const char* name, std::vector<std::string>& value, const char* help);   // repeatable
  void option(const char* name, std::vector<std::int64_t>& value, const char* help);  // 25,35
  void flag(const char* name, bool& value, const char* help);                         // present or not

  // One of its names (core/option.h).
  template <class Enum>
    requires std::is_enum_v<Enum>
  void option(const char* name, Enum& value, const char* help) {
    constexpr auto kNames = names(Enum());
    choice(
        name, help, {kNames.begin(), kNames.end()}, [&value] { return static_cast<std::size_t>(value); },
        [&value](std::size_t chosen) { value = static_cast<Enum>(chosen); });
  }

  // Fills the structs. UsageError names every option that was not understood, one a line; the others are filled in even
  // then. False when --help or --print-config was answered on stdout and there is nothing left to do.
  bool parse(const Arguments& arguments);

  // Values kept in a checkpoint: below files and command line, above the defaults. Names this build does not know are
  // an Error.
  void set_defaults(const std::map<std::string, std::string>& values);

  // Whether the user gave this option, in a file or on the command line.
  bool given(const std::string& name) const;

  // The options that a resumed run may change.
  const std::set<std::string>& free_on_resume() const { return free_on_resume_; }

  std::map<std::string, std::string> values() const;  // the resolved configuration, by option name
  // The same as a file that can be fed back; UsageError for a value with a line break, which it cannot hold.
  std::string ini() const;

 private:
  // An option of one value: its text now, and what to do with another; UsageError when that is not of its type.
  void add_option(const char* name, const char* help, std::function<std::string()> print,
                  std::function<void(const std::string&)> take);

  // The same for a place in `names`.
  void choice(const char* name, const char* help, const std::vector<std::string_view>& names,
              std::function<std::size_t()> print, std::function<void(std::size_t)> take);

  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::set<std::string> free_on_resume_;
};

// What `arguments` or the configuration files they name say about one option, before the others can be parsed because
// their defaults depend on it. Empty when they say nothing, and for whatever parse() will refuse.
std::string early_value(const Arguments& arguments, const std::string& option);

// The known name with the fewest edits, or nothing when none is near.
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

}  // namespace pixelbert::config
