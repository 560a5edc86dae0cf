// Options of one command: first from `--config FILE.ini` (repeatable, later wins), then from the command line.
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
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/option.h"

namespace pixelbert::config {

using Arguments = std::vector<std::string>;  // after the command's name

class CommandLine {
 public:
  CommandLine(std::string command, std::string summary);
  ~CommandLine();

  // Registers the options of a struct, whose present values are the defaults. The struct must outlive the parsing.
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
  void option(const char* name, bool& value, const char* help);                      // true or false
  void option(const char* name, std::vector<std::string>& value, const char* help);  // repeatable
  void option(const char* name, std::vector<double>& value, const char* help);       // 25,35.5
  void flag(const char* name, bool& value, const char* help);                        // present or not

  // An enumeration, given by one of its names (core/option.h).
  template <class Enum>
    requires std::is_enum_v<Enum>
  void option(const char* name, Enum& value, const char* help) {
    constexpr auto kNames = names(Enum());
    choice(
        name, help, {kNames.begin(), kNames.end()}, [&value] { return static_cast<std::size_t>(value); },
        [&value](std::size_t chosen) { value = static_cast<Enum>(chosen); });
  }

  // Fills the structs. Throws UsageError naming every option that was not understood, one per line; fills in the others
  // even then. Returns false if it has answered --help or --print-config on stdout and nothing is left to do.
  bool parse(const Arguments& arguments);

  // Sets values kept in a checkpoint. They override the defaults; files and the command line override them. For names
  // that this build does not know, parse() throws UsageError.
  void set_defaults(const std::map<std::string, std::string>& values);

  // Returns whether the user gave this option, in a file or on the command line.
  bool given(const std::string& name) const;

  // Returns the options that a resumed run may change.
  const std::set<std::string>& free_on_resume() const { return free_on_resume_; }

  std::map<std::string, std::string> values() const;  // the resolved configuration, by option name
  // Returns the same as a file for --config. Throws UsageError for a value with a line break, which it cannot hold.
  std::string ini() const;

 private:
  // Adds an option of one value. print() returns its text; take() sets it, or throws UsageError for another type.
  void add_option(const char* name, const char* help, std::function<std::string()> print,
                  std::function<void(const std::string&)> take);

  // The same for an index into `names`.
  void choice(const char* name, const char* help, const std::vector<std::string_view>& names,
              std::function<std::size_t()> print, std::function<void(std::size_t)> take);

  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::set<std::string> free_on_resume_;
};

// Returns one option's value in `arguments` or the configuration files they name, before the others can be parsed,
// because their defaults depend on it. Returns "" if there is none, or one that parse() will refuse.
std::string early_value(const Arguments& arguments, const std::string& option);

// Returns the same as a number: nothing if there is none, or one that parse() will refuse.
std::optional<double> early_number(const Arguments& arguments, const std::string& option);

}  // namespace pixelbert::config
