// RAII for a C handle: a traits struct names the type, the null value and how to close it.
#pragma once

#include <utility>

namespace pixelbert {

template <class Traits>
class UniqueHandle {
 public:
  using Value = typename Traits::Value;

  UniqueHandle() = default;
  explicit UniqueHandle(Value value) : value_(value) {}
  UniqueHandle(UniqueHandle&& other) noexcept : value_(std::exchange(other.value_, Traits::kNull)) {}
  UniqueHandle& operator=(UniqueHandle&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~UniqueHandle() {
    if (value_ != Traits::kNull) Traits::close(value_);
  }

  Value get() const { return value_; }
  explicit operator bool() const { return value_ != Traits::kNull; }

 private:
  Value value_ = Traits::kNull;
};

// The traits of a pointer that a function closes.
template <class T, auto kClose>
struct PointerTraits {
  using Value = T*;
  static constexpr Value kNull = nullptr;
  static void close(Value value) noexcept { kClose(value); }
};

}  // namespace pixelbert
