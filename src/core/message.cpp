#include "core/message.h"

#include <algorithm>
#include <new>

namespace pixelbert {
namespace {

constexpr const char* kMoreMemory =
    "out of memory: ask for more (sbatch --mem) or put fewer ranks on a host; a training needs less with a lower "
    "--data.micro-batch or smaller images";
constexpr const char* kMoreGpuMemory =
    "out of memory on the GPU: a training needs less with a lower --data.micro-batch or smaller images";

// c10::Error's what() begins with its message and continues with one of these. Other errors may quote it.
std::string without_backtrace(std::string text) {
  for (const char* begin : {"\nException raised from ", "\nframe #0: "}) {
    text.resize(std::min(text.find(begin), text.size()));
  }
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

// What to do about LibTorch's messages, for the CPU and for CUDA.
const char* advice(const std::string& text) {
  if (text.find("CUDA out of memory") != text.npos) return kMoreGpuMemory;
  return text.find("can't allocate memory") != text.npos ? kMoreMemory : nullptr;
}

}  // namespace

std::string message_of(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error)) return kMoreMemory;
  const std::string text = without_backtrace(error.what());
  const char* const what_to_do = advice(text);
  return what_to_do ? text + "; " + what_to_do : text;
}

}  // namespace pixelbert
