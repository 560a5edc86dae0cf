// The fields of an object of an annotation file. What is missing or of another kind is an Error that names the field
// and what was found; json_stream puts the file and the place in front.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace pixelbert::sources {

// Stands in for NaN, Infinity and numbers that no double holds, which Python writes and reads: no reader takes it.
constexpr double kNotFinite = 1.7976931348623157e308;

// Whole numbers of 64 bits; also 42.0 and "42", as pandas and JavaScript write them. A float from 2^53 on may have been
// another number in the file.
std::int64_t id_at(const nlohmann::json& object, const char* field);

const std::string& string_at(const nlohmann::json& object, const char* field);

// The same of a value that has been taken out of its object.
std::int64_t to_id(const nlohmann::json& value, const std::string& name);
const std::string& to_text(const nlohmann::json& value, const std::string& name);

// Absent and null alike.
bool has(const nlohmann::json& object, const char* field);

// Calls visit(element) for each object of the list `field`; errors get the element's place in front.
void for_each_in(const nlohmann::json& object, const char* field,
                 const std::function<void(const nlohmann::json& element)>& visit);

// What a message says of a value: 1.2, "42", null, a list, ... Short, on one line.
std::string described(const nlohmann::json& value);

}  // namespace pixelbert::sources
