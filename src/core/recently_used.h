// A cache of the values that were used last.
#pragma once

#include <algorithm>
#include <list>
#include <memory>
#include <utility>

namespace pixelbert {

// Keeps `capacity` values. A dropped value lives on while a caller holds it. Not thread-safe.
template <class Key, class Value>
class RecentlyUsed {
 public:
  explicit RecentlyUsed(std::size_t capacity) : capacity_(capacity) {}

  // Returns the value of `key`. If it is missing, calls make(), which returns it as a std::shared_ptr.
  template <class Make>
  std::shared_ptr<const Value> get(const Key& key, Make&& make) {
    const auto found = std::ranges::find(entries_, key, &Entry::first);
    if (found != entries_.end()) {
      entries_.splice(entries_.begin(), entries_, found);
      return found->second;
    }
    entries_.emplace_front(key, make());
    if (entries_.size() > capacity_) entries_.pop_back();
    return entries_.front().second;
  }

 private:
  using Entry = std::pair<Key, std::shared_ptr<const Value>>;

  std::size_t capacity_;
  std::list<Entry> entries_;  // most recently used first
};

}  // namespace pixelbert
