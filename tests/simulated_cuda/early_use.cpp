// LibTorch asks once whether it has a CUDA half. If that is before the program has loaded it, the program must notice.
#include <ATen/Context.h>

#include <cstring>
#include <iostream>
#include <string>

#include "comm/make_communicator.h"
#include "core/check.h"

int main() {
  (void)at::globalContext().hasCUDA();
  try {
    const std::string found = pixelbert::comm::cuda_version();
    std::cerr << "expected an error, found CUDA " << found << "\n";
  } catch (const pixelbert::Error& error) {
    if (std::strstr(error.what(), "was used before it was loaded")) return 0;
    std::cerr << error.what() << "\n";
  }
  return 1;
}
