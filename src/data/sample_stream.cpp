#include "data/sample_stream.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <numeric>
#include <span>
#include <utility>

#include "core/check.h"
#include "core/recently_used.h"
#include "core/rng.h"

namespace pixelbert::data {

struct SampleStream::Epoch {
  std::int64_t number;
  std::vector<std::uint32_t> blocks;     // shuffled
  std::vector<std::int64_t> first_pair;  // of each window, and the total at the end
};

struct SampleStream::Window {
  std::vector<Pair> pairs;
  std::vector<Shape> shapes;                                       // of the window's images; empty if unknown
  std::vector<std::uint32_t> shape_of_pair;                        // row of `shapes`
  std::map<std::int32_t, std::vector<std::uint32_t>> of_data_set;  // positions in `pairs`
};

struct SampleStream::Section {
  std::int64_t first = 0;                    // place in the epoch
  std::vector<std::uint32_t> shuffled = {};  // of each place: its place in the shuffled order, from `first` on
  std::vector<std::shared_ptr<const Window>> windows = {};  // that it needs
  std::vector<std::int64_t> first_pair = {};                // of each of these
};

namespace {

std::uint64_t bits(std::int64_t number) {
  return static_cast<std::uint64_t>(number);
}

bool share_an_image(const Pair& a, const Pair& b) {
  return a.data_set == b.data_set && a.image == b.image;
}

// Adds an image, or two, to what a batch takes up.
void add(const Shape& image, Shape& batch) {
  batch.height = std::max(batch.height, image.height);
  batch.width = std::max(batch.width, image.width);
  batch.images += image.images;
  batch.pixels += image.pixels;
}

std::int64_t padded_pixels(const Shape& batch) {
  return batch.images * batch.height * batch.width;
}

// The ratio of the sides in steps of 1/kSteps of the shorter one, negative for tall images: after resizing, most images
// have the same shorter side, so those of similar ratio have similar sizes. In steps, because the texts of an image
// whose size no other has would all come into the same micro-batch.
std::int64_t class_of(const Shape& shape) {
  constexpr std::int64_t kSteps = 25;
  const std::int64_t height = std::max<std::int64_t>(shape.height, 1), width = std::max<std::int64_t>(shape.width, 1);
  return width >= height ? kSteps * width / height : -(kSteps * height / width);
}

struct Shuffled {
  Pair pair;
  const Shape* shape;
  std::uint32_t place;  // in the shuffled order, from the section's first on
};

// Pairs that may share a micro-batch.
struct Cell {
  std::span<const Shuffled> pairs;
  std::int64_t cost;
};
using CellsByLength = std::map<std::int64_t, std::vector<Cell>>;

// Sorts `pairs` by shape and cuts them into as many micro-batches of each length as there are `places` (the last
// micro-batch of a step may be shorter). Those of one length are sorted by cost.
CellsByLength cut_by_shape(std::vector<Shuffled>& pairs, const std::vector<MicroBatch>& places) {
  // The shuffled order decides between equal shapes, so that the texts of a unit stay together.
  std::ranges::stable_sort(
      pairs, [](const Shuffled& a, const Shuffled& b) { return class_of(*a.shape) < class_of(*b.shape); });
  CellsByLength cells;
  for (std::size_t begin = 0; const MicroBatch& place : places) {
    const auto own = std::span<const Shuffled>(pairs).subspan(begin, bits(place.last - place.first));
    begin += own.size();
    Shape batch;
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (i == 0 || !share_an_image(own[i].pair, own[i - 1].pair)) add(*own[i].shape, batch);
    }
    cells[std::ssize(own)].push_back({own, padded_pixels(batch)});
  }
  for (auto& [length, of_length] : cells) std::ranges::stable_sort(of_length, {}, &Cell::cost);
  return cells;
}

// A block, and how many texts each of its images has.
struct CountedBlock {
  Block block;
  std::vector<std::int64_t> texts;
};

CountedBlock counted(const Block& block, const SampleStream::TextCounts& text_counts) {
  std::vector<std::int64_t> texts = text_counts(block);
  const std::int64_t found = std::accumulate(texts.begin(), texts.end(), std::int64_t{0});
  PB_CHECK(std::ssize(texts) == block.images && found == block.texts,
           "expected {} images with {} texts from image {} of data set {}, found {} with {}: the manifest does not "
           "belong to its files",
           block.images, block.texts, block.first_image, block.data_set, texts.size(), found);
  return {block, std::move(texts)};
}

std::vector<Shape> shapes_of(const std::vector<CountedBlock>& blocks, const SampleStream::Shapes& shapes_of_block) {
  std::vector<Shape> all;
  for (const CountedBlock& counted : blocks) {
    const std::vector<Shape> shapes = shapes_of_block(counted.block);
    PB_CHECK(std::ssize(shapes) == counted.block.images, "expected {} shapes, found {}", counted.block.images,
             shapes.size());
    all.insert(all.end(), shapes.begin(), shapes.end());
  }
  return all;
}

// Pairs of one image that stay together.
struct Unit {
  std::span<Pair> pairs;
  std::uint32_t image;  // its place among the blocks' images
};

// Deals each image's texts into units of about `texts_per_image`, drawn anew in each epoch. The pairs, unit by unit in
// the order of the blocks, are in `dealt`, which has room for them.
std::vector<Unit> deal_units(const std::vector<CountedBlock>& blocks, std::int64_t texts_per_image, std::uint64_t seed,
                             std::int64_t epoch, std::vector<Pair>& dealt) {
  std::vector<Unit> units;
  std::uint32_t image = 0;
  for (const auto& [block, counts] : blocks) {
    Pair pair{block.data_set, block.first_image, block.first_text};
    for (const std::int64_t texts : counts) {
      const std::size_t first = dealt.size();
      for (std::int64_t text = 0; text < texts; ++text, ++pair.text) dealt.push_back(pair);
      const std::span own = std::span(dealt).subspan(first);
      Random(key(seed, epoch, block.data_set, pair.image, Purpose::kTextGroups)).shuffle(own);
      const std::int64_t groups = (texts + texts_per_image - 1) / texts_per_image;
      for (std::int64_t group = 0; group < groups; ++group) {
        const std::int64_t begin = texts * group / groups, end = texts * (group + 1) / groups;
        units.push_back({own.subspan(bits(begin), bits(end - begin)), image});
      }
      ++pair.image;
      ++image;
    }
  }
  return units;
}

}  // namespace

struct SampleStream::Cache {
  // Windows are made under the lock: threads that make neighbouring micro-batches want the same one.
  std::mutex epoch_mutex, window_mutex, section_mutex;
  RecentlyUsed<std::int64_t, Epoch> epochs{2};                             // the current one and, at its end, the next
  RecentlyUsed<std::pair<std::int64_t, std::int64_t>, Window> windows{8};  // what the micro-batches in the making span
  RecentlyUsed<std::pair<std::int64_t, std::int64_t>, Section> sections{8};
};

void find_problems(const StreamConfig& config, Problems& problems) {
  problems.countable("data.global-batch", config.global_batch);
  problems.countable("data.micro-batch", config.micro_batch);
  problems.require(config.global_batch < 1 || config.micro_batch <= config.global_batch,
                   fmt::format("--data.micro-batch {} is more than --data.global-batch {}", config.micro_batch,
                               config.global_batch));
  problems.countable("data.texts-per-image", config.texts_per_image);
  problems.countable("data.blocks-in-window", config.blocks_in_window);
}

SampleStream::SampleStream(std::vector<Block> blocks, TextCounts text_counts, const StreamConfig& config,
                           std::uint64_t seed, Shapes shapes)
    : blocks_(std::move(blocks)),
      text_counts_(std::move(text_counts)),
      shapes_(std::move(shapes)),
      config_(config),
      seed_(seed),
      cache_(std::make_unique<Cache>()) {
  validate(config_);
  std::erase_if(blocks_, [](const Block& block) { return block.texts == 0; });
  for (const Block& block : blocks_) pairs_per_epoch_ += block.texts;
  PB_CHECK(pairs_per_epoch_ > 0, "the data sets have no image with a text: expected at least one pair to train on");
}

SampleStream::SampleStream(SampleStream&&) noexcept = default;
SampleStream::~SampleStream() = default;

std::int64_t SampleStream::steps_per_epoch() const {
  return (pairs_per_epoch_ + config_.global_batch - 1) / config_.global_batch;
}

Position SampleStream::after(Position at, std::int64_t steps) const {
  const std::int64_t step = at.step + steps;
  return {at.epoch + step / steps_per_epoch(), step % steps_per_epoch()};
}

std::int64_t SampleStream::pairs_in_step(Position at) const {
  PB_CHECK(at.epoch >= 0 && at.step >= 0 && at.step < steps_per_epoch(),
           "there is no step {} of epoch {}: an epoch has {} steps", at.step, at.epoch, steps_per_epoch());
  return std::min(config_.global_batch, pairs_per_epoch_ - at.step * config_.global_batch);
}

std::int64_t SampleStream::micro_batches_in_step(Position at) const {
  return (pairs_in_step(at) + config_.micro_batch - 1) / config_.micro_batch;
}

std::vector<MicroBatch> SampleStream::micro_batches(Position at, Share share) const {
  return data::micro_batches(pairs_in_step(at), config_.micro_batch, share);
}

std::vector<Pair> SampleStream::pairs(Position at, std::int64_t first, std::int64_t last) const {
  PB_CHECK(0 <= first && first <= last && last <= pairs_in_step(at), "there are no pairs [{}, {}) in a step of {}",
           first, last, pairs_in_step(at));
  std::vector<Pair> pairs;
  pairs.reserve(static_cast<std::size_t>(last - first));
  for (; first < last; ++first) {
    const auto [window, position] = place(at, first);
    pairs.push_back(window->pairs[position]);
  }
  return pairs;
}

Shape SampleStream::shape(Position at, std::int64_t first, std::int64_t last) const {
  PB_CHECK(0 <= first && first <= last && last <= pairs_in_step(at), "there are no pairs [{}, {}) in a step of {}",
           first, last, pairs_in_step(at));
  Shape batch;
  std::optional<Pair> before;
  for (; first < last && shapes_; ++first) {
    const auto [window, position] = place(at, first);
    const Pair& pair = window->pairs[position];
    if (!before || !share_an_image(*before, pair)) add(window->shapes[window->shape_of_pair[position]], batch);
    before = pair;
  }
  return batch;
}

std::optional<Pair> SampleStream::pair_of_another_image(Position at, std::int64_t index, std::uint64_t key) const {
  PB_CHECK(0 <= index && index < pairs_in_step(at), "there is no pair {} in a step of {}", index, pairs_in_step(at));
  const auto [window, position] = place(at, index);
  const Pair& own = window->pairs[position];
  const std::vector<std::uint32_t>& candidates = window->of_data_set.at(own.data_set);
  const Pair& drawn = window->pairs[candidates[Random(key).below(candidates.size())]];
  if (drawn.image == own.image) return std::nullopt;
  return drawn;
}

std::optional<Pair> SampleStream::pair_of_any_image(Position at, std::int64_t index, std::uint64_t key) const {
  const Pair own = pairs(at, index, index + 1)[0];
  std::int64_t texts = 0;
  for (const Block& block : blocks_) texts += block.data_set == own.data_set ? block.texts : 0;
  auto left = static_cast<std::int64_t>(Random(key).below(bits(texts)));
  for (const Block& block : blocks_) {
    if (block.data_set != own.data_set) continue;
    if (left >= block.texts) {
      left -= block.texts;
      continue;
    }
    Pair drawn{block.data_set, block.first_image, block.first_text + left};
    for (const std::int64_t count : counted(block, text_counts_).texts) {
      if (left < count) break;
      left -= count;
      ++drawn.image;
    }
    return drawn.image == own.image ? std::nullopt : std::optional(drawn);
  }
  return std::nullopt;
}

std::int64_t SampleStream::windows_per_epoch() const {
  const auto blocks = static_cast<std::int64_t>(blocks_.size());
  return (blocks + config_.blocks_in_window - 1) / config_.blocks_in_window;
}

std::int64_t SampleStream::steps_per_section() const {
  const std::int64_t micro_batches = (config_.global_batch + config_.micro_batch - 1) / config_.micro_batch;
  return (kSectionMicroBatches + micro_batches - 1) / micro_batches;
}

SampleStream::Place SampleStream::place(Position at, std::int64_t index) const {
  const std::int64_t pair = at.step * config_.global_batch + index;  // within the epoch
  const auto order = epoch(at.epoch);
  if (!shapes_ || !config_.group_shapes) return shuffled_place(*order, pair);
  const auto part = section(*order, at.step / steps_per_section());
  const std::int64_t shuffled = part->first + part->shuffled[bits(pair - part->first)];
  const auto next = std::upper_bound(part->first_pair.begin(), part->first_pair.end(), shuffled);
  return {part->windows[bits(next - part->first_pair.begin() - 1)], bits(shuffled - *(next - 1))};
}

SampleStream::Place SampleStream::shuffled_place(const Epoch& epoch, std::int64_t pair) const {
  const auto next = std::upper_bound(epoch.first_pair.begin(), epoch.first_pair.end(), pair);
  const std::int64_t number = next - epoch.first_pair.begin() - 1;
  return {window(epoch, number), bits(pair - *(next - 1))};
}

std::shared_ptr<const SampleStream::Epoch> SampleStream::epoch(std::int64_t number) const {
  const std::lock_guard guard(cache_->epoch_mutex);
  return cache_->epochs.get(number, [&] { return std::make_shared<const Epoch>(make_epoch(number)); });
}

std::shared_ptr<const SampleStream::Window> SampleStream::window(const Epoch& epoch, std::int64_t number) const {
  const std::lock_guard guard(cache_->window_mutex);
  return cache_->windows.get({epoch.number, number},
                             [&] { return std::make_shared<const Window>(make_window(epoch, number)); });
}

std::shared_ptr<const SampleStream::Section> SampleStream::section(const Epoch& epoch, std::int64_t number) const {
  const std::lock_guard guard(cache_->section_mutex);
  return cache_->sections.get({epoch.number, number},
                              [&] { return std::make_shared<const Section>(make_section(epoch, number)); });
}

SampleStream::Epoch SampleStream::make_epoch(std::int64_t number) const {
  Epoch epoch{.number = number, .blocks = std::vector<std::uint32_t>(blocks_.size()), .first_pair = {0}};
  std::iota(epoch.blocks.begin(), epoch.blocks.end(), 0);
  Random(key(seed_, number, Purpose::kBlockOrder)).shuffle(std::span(epoch.blocks));

  const std::int64_t windows = windows_per_epoch();
  const auto blocks = static_cast<std::int64_t>(blocks_.size());
  for (std::int64_t window = 0; window < windows; ++window) {
    std::int64_t pairs = 0;
    for (std::int64_t i = blocks * window / windows; i < blocks * (window + 1) / windows; ++i) {
      pairs += blocks_[epoch.blocks[i]].texts;
    }
    epoch.first_pair.push_back(epoch.first_pair.back() + pairs);
  }
  return epoch;
}

SampleStream::Window SampleStream::make_window(const Epoch& epoch, std::int64_t number) const {
  const std::int64_t windows = windows_per_epoch(), all = std::ssize(blocks_);
  std::vector<CountedBlock> blocks;
  for (std::int64_t i = all * number / windows; i < all * (number + 1) / windows; ++i) {
    blocks.push_back(counted(blocks_[epoch.blocks[i]], text_counts_));
  }
  Window window;
  if (shapes_) window.shapes = shapes_of(blocks, shapes_);

  std::vector<Pair> dealt;
  dealt.reserve(bits(epoch.first_pair[number + 1] - epoch.first_pair[number]));
  std::vector<Unit> units = deal_units(blocks, config_.texts_per_image, seed_, epoch.number, dealt);
  Random(key(seed_, epoch.number, number, Purpose::kUnitOrder)).shuffle(std::span(units));

  window.pairs.reserve(dealt.size());
  for (const auto& [pairs, image] : units) {
    window.pairs.insert(window.pairs.end(), pairs.begin(), pairs.end());
    if (shapes_) window.shape_of_pair.insert(window.shape_of_pair.end(), pairs.size(), image);
  }
  for (std::size_t i = 0; i < window.pairs.size(); ++i) {
    window.of_data_set[window.pairs[i].data_set].push_back(static_cast<std::uint32_t>(i));
  }
  return window;
}

SampleStream::Section SampleStream::make_section(const Epoch& epoch, std::int64_t number) const {
  const std::int64_t first_step = number * steps_per_section();
  const std::int64_t last_step = std::min(first_step + steps_per_section(), steps_per_epoch());
  const std::int64_t last = std::min(last_step * config_.global_batch, pairs_per_epoch_);
  Section section{.first = first_step * config_.global_batch};

  std::vector<Shuffled> pairs;
  pairs.reserve(bits(last - section.first));
  for (std::int64_t pair = section.first; pair < last;) {
    const auto [window, position] = shuffled_place(epoch, pair);
    section.first_pair.push_back(pair - static_cast<std::int64_t>(position));
    section.windows.push_back(window);
    for (std::size_t i = position; i < window->pairs.size() && pair < last; ++i, ++pair) {
      pairs.push_back({window->pairs[i], &window->shapes[window->shape_of_pair[i]],
                       static_cast<std::uint32_t>(pair - section.first)});
    }
  }
  section.shuffled.resize(pairs.size());
  std::iota(section.shuffled.begin(), section.shuffled.end(), 0);
  const auto differs = [&](const Shuffled& pair) { return *pair.shape != *pairs[0].shape; };
  if (std::ranges::none_of(pairs, differs)) return section;

  // The places of the micro-batches, in a random order of the steps, and in a random order within each.
  std::vector<std::int64_t> steps(bits(last_step - first_step));
  std::iota(steps.begin(), steps.end(), first_step);
  Random random(key(seed_, epoch.number, number, Purpose::kStepOrder));
  random.shuffle(std::span(steps));
  std::vector<MicroBatch> places;
  for (const std::int64_t step : steps) {
    std::vector<MicroBatch> of_step = micro_batches({epoch.number, step}, {});
    random.shuffle(std::span(of_step));
    const std::int64_t before = step * config_.global_batch - section.first;
    for (const MicroBatch& own : of_step) places.push_back({own.index, before + own.first, before + own.last});
  }

  // The cheapest micro-batches go to the first of these steps, and so on.
  CellsByLength cells = cut_by_shape(pairs, places);
  std::map<std::int64_t, std::size_t> used;
  for (const MicroBatch& place : places) {
    const std::int64_t length = place.last - place.first;
    const Cell& cell = cells[length][used[length]++];
    std::ranges::transform(cell.pairs, section.shuffled.begin() + place.first, &Shuffled::place);
  }
  return section;
}

std::vector<std::int64_t> run_bounds(std::int64_t micro_batches, int ranks) {
  std::vector<std::int64_t> bounds;
  for (int rank = 0; rank <= ranks; ++rank) bounds.push_back(micro_batches * rank / ranks);
  return bounds;
}

std::vector<MicroBatch> micro_batches(std::int64_t pairs_in_step, std::int64_t micro_batch, Share share) {
  PB_CHECK(micro_batch > 0, "expected micro-batches of at least 1 pair, found {}", micro_batch);
  PB_CHECK(0 <= share.rank && share.rank < share.world_size, "there is no rank {} of {}", share.rank, share.world_size);
  const std::int64_t count = (pairs_in_step + micro_batch - 1) / micro_batch;
  const std::vector<std::int64_t> bounds = run_bounds(count, share.world_size);
  const auto rank = static_cast<std::size_t>(share.rank);
  std::vector<MicroBatch> mine;
  for (std::int64_t i = bounds[rank]; i < bounds[rank + 1]; ++i) {
    mine.push_back({i, i * micro_batch, std::min((i + 1) * micro_batch, pairs_in_step)});
  }
  return mine;
}

}  // namespace pixelbert::data
