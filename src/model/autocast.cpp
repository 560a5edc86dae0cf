#include "model/autocast.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/version.h>

// Older ones keep casts that were made without a gradient, and use them where there is one (pytorch#165068).
static_assert(TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 11),
              "LibTorch must be 2.11 or newer");

namespace pixelbert::model {

Precision available(Precision asked, torch::Device device) {
  if (asked == Precision::Float32 || !device.is_cpu()) return asked;
  static const bool fast = [] {
    const auto has_bf16 = c10::Dispatcher::singleton().findSchema({"mkldnn::_is_mkldnn_bf16_supported", ""});
    return has_bf16 && has_bf16->typed<bool()>().call();
  }();
  return fast ? Precision::Bf16 : Precision::Float32;
}

}  // namespace pixelbert::model
