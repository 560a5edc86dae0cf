#include "train/device_times.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>

namespace pixelbert::train {

void DeviceTimes::mark(activity::Phase phase) {
  if (device_.is_cpu()) return;
  c10::Event event(device_.type(), c10::EventFlag::BACKEND_DEFAULT);  // the one that takes the time
  event.record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  marks_.push_back({phase, std::move(event)});
}

void DeviceTimes::wait_for_end_of(activity::Phase phase) const {
  for (std::size_t i = marks_.size(); i-- > 1;) {
    if (marks_[i - 1].phase == phase) return marks_[i].event.synchronize();
  }
}

std::vector<DeviceTimes::Span> DeviceTimes::spans() const {
  std::vector<Span> spans;
  for (std::size_t i = 0; i + 1 < marks_.size(); ++i) {
    const double milliseconds = marks_[i].event.elapsedTime(marks_[i + 1].event);
    spans.push_back({marks_[i].phase, 1e-3 * milliseconds});
  }
  return spans;
}

}  // namespace pixelbert::train
