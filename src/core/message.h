// What an exception says to people.
#pragma once

#include <exception>
#include <string>

namespace pixelbert {

// Its what() without the C++ backtrace that LibTorch's errors carry, and, when memory has run out, what to do.
std::string message_of(const std::exception& error);

}  // namespace pixelbert
