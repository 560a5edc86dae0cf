// Messages of exceptions, for users.
#pragma once

#include <exception>
#include <string>

namespace pixelbert {

// Returns its what() without the C++ backtrace of LibTorch's errors; if memory has run out, also what to do.
std::string message_of(const std::exception& error);

}  // namespace pixelbert
