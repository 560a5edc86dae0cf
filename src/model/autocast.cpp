#include "model/autocast.h"

#include <ATen/core/dispatch/Dispatcher.h>

namespace pixelbert::model {

Precision available(Precision asked, torch::Device device) {
  if (asked == Precision::Float32 || !device.is_cpu()) return asked;
  static const bool fast = c10::Dispatcher::singleton()
                               .findSchemaOrThrow("mkldnn::_is_mkldnn_bf16_supported", "")
                               .typed<bool()>()
                               .call();
  return fast ? Precision::Bf16 : Precision::Float32;
}

}  // namespace pixelbert::model
