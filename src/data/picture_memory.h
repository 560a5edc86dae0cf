// Memory for the pictures of batches, used again and again. 64 pairs at 800 x 1067 take 200 MB, which malloc would get
// from the kernel and give back for every batch: those page faults cost as much time as decoding does.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>

namespace pixelbert::data {

class PictureMemory {
 public:
  PictureMemory();

  // float32 [count, 3, height, width], channels-last, with whatever was in it before. Its memory comes back when the
  // last tensor on it is gone, which may be after the PictureMemory. Thread-safe.
  //
  // There are never more blocks than tensors were in use at one time, none larger than the largest tensor.
  torch::Tensor take(std::int64_t count, std::int64_t height, std::int64_t width);

 private:
  struct Free;
  std::shared_ptr<Free> free_;
};

}  // namespace pixelbert::data
