// Reads fields of objects in annotation files. Throws Error naming the field and what was found when a field is missing
// or has another type; json_stream adds the file and the place.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace pixelbert::sources {

// Replaces NaN, Infinity and numbers too large for a double, which Python writes and reads. No field accepts it.
constexpr double kNotFinite = 1.7976931348623157e308;

// Returns a 64-bit integer; accepts also 42.0 and "42", as pandas and JavaScript write them, but no float from 2^53 on:
// the file may have held another number.
std::int64_t id_at(const nlohmann::json& object, const char* field);

const std::string& string_at(const nlohmann::json& object, const char* field);

// The same for a value already taken out of its object.
std::int64_t to_id(const nlohmann::json& value, const std::string& name);
const std::string& to_text(const nlohmann::json& value, const std::string& name);

// False when it is absent or null.
bool has(const nlohmann::json& object, const char* field);

// Calls visit(element) for each object of the list `field`; puts the element's place in front of errors.
void for_each_in(const nlohmann::json& object, const char* field,
                 const std::function<void(const nlohmann::json& element)>& visit);

// Describes a value in a message: 1.2, "42", null, a list, ... Short, on one line.
std::string described(const nlohmann::json& value);

}  // namespace pixelbert::sources
