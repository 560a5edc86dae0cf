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
#include <string>
#include <string_view>
#include <vector>

namespace pixelbert::config {

class CommandLine {
 public:
  CommandLine(std::string command, std::string summary);
  ~CommandLine();

  // Registers the options of a struct; their present values are the defaults. The struct outlives the parsing.
  template <class Config>
  void add(Config& config) {
    describe(config, [this](const char* name, auto& value, const char* help) { this->option(name, value, help); });
  }

  void option(const char* name, std::string& value, const char* help);
  void option(const char* name, std::int64_t& value, const char* help);
  void option(const char* name, std::uint64_t& value, const char* help);
  void option(const char* name, double& value, const char* help);
  void option(const char* name, bool& value, const char* help);                       // true or false
  void option(const char* name, std::vector<std::string>& value, const char* help);   // repeatable
  void option(const char* name, std::vector<std::int64_t>& value, const char* help);  // 25,35
  void flag(const char* name, bool& value, const char* help);                         // present or not

  // Fills the structs. UsageError names every option that was not understood, one a line; the others are filled in even
  // then. False when --help or --print-config was answered on stdout and there is nothing left to do.
  bool parse(const std::vector<std::string>& arguments);

  // Values kept in a checkpoint: below files and command line, above the defaults. Names this build does not know are
  // an Error.
  void set_defaults(const std::map<std::string, std::string>& values);

  // Whether the user gave this option, in a file or on the command line.
  bool given(const std::string& name) const;

  std::map<std::string, std::string> values() const;  // the resolved configuration, by option name
  // The same as a file that can be fed back; UsageError for a value with a line break, which it cannot hold.
  std::string ini() const;

 private:
  // An option of one value: its text now, and what to do with another; UsageError when that is not of its type.
  void add_option(const char* name, const char* help, std::function<std::string()> print,
                  std::function<void(const std::string&)> take);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What `arguments` or the configuration files they name say about one option, before the others can be parsed because
// their defaults depend on it. Empty when they say nothing, and for whatever parse() will refuse.
std::string early_value(const std::vector<std::string>& arguments, const std::string& option);

// The known name with the fewest edits, or nothing when none is near.
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

}  // namespace pixelbert::config
