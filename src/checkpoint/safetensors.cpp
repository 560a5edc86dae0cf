#include "checkpoint/safetensors.h"

#include <ATen/ops/aminmax.h>
#include <ATen/ops/empty.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "core/activity.h"
#include "core/check.h"
#include "core/files.h"
#include "core/json_text.h"
#include "core/text_lines.h"

namespace pixelbert::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are stored as they lie in memory");

using nlohmann::json;

constexpr const char* kMetadata = "__metadata__";
constexpr std::int64_t kLengthBytes = 8;
constexpr std::int64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation refuses more

constexpr std::array<std::pair<const char*, torch::Dtype>, 10> kDtypes = {{{"F64", torch::kFloat64},
                                                                           {"F32", torch::kFloat32},
                                                                           {"F16", torch::kFloat16},
                                                                           {"BF16", torch::kBFloat16},
                                                                           {"I64", torch::kInt64},
                                                                           {"I32", torch::kInt32},
                                                                           {"I16", torch::kInt16},
                                                                           {"I8", torch::kInt8},
                                                                           {"U8", torch::kUInt8},
                                                                           {"BOOL", torch::kBool}}};

std::int64_t item_bytes(torch::Dtype dtype) {
  return static_cast<std::int64_t>(c10::elementSize(dtype));
}

// A new file whose digest is computed while it is written.
class DigestedFile {
 public:
  explicit DigestedFile(const std::filesystem::path& path)
      : path_(path), fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
    PB_CHECK(fd_, "cannot create {}: {}", path.string(), std::strerror(errno));
  }

  void write(std::span<const std::byte> bytes) {
    activity::doing(activity::Phase::Checkpoint, fmt::format("writing {}, byte {}", path_.native(), digest_.bytes));
    // Small enough that write() finds in the cache what the checksum has just read.
    constexpr std::size_t kPiece = std::size_t{1} << 18;
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(bytes.size(), kPiece))) {
      const auto piece = bytes.first(std::min(bytes.size(), kPiece));
      digest_.crc32c = crc32c(piece, digest_.crc32c);
      digest_.bytes += static_cast<std::int64_t>(piece.size());
      write_all(fd_.get(), piece, path_);
    }
  }

  Digest finish() {
    PB_CHECK(::fsync(fd_.get()) == 0, "cannot flush {}: {}", path_.string(), std::strerror(errno));
    return digest_;
  }

 private:
  std::filesystem::path path_;
  FileDescriptor fd_;
  Digest digest_;
};

// Returns the part of a name that a message shows: a name may be as long as the header.
std::string shown(std::string_view name) {
  return one_line(name, 200);
}

// The content of a header; offsets still count from its end, as in the file.
struct Entries {
  std::vector<TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
};

// Reads a header as a stream, because a tree would take thirty times its size, and refuses what does not belong there.
// The depth is the place: 1 is the header, 2 a tensor or the metadata, 3 a list of numbers.
class HeaderReader final : public nlohmann::json_sax<json> {
 public:
  HeaderReader(const std::filesystem::path& path, Entries& entries) : path_(path), entries_(entries) {}

  bool null() override { return refuse("null"); }
  bool boolean(bool value) override { return refuse(value ? "true" : "false"); }
  bool number_integer(std::int64_t value) override { return refuse(fmt::to_string(value)); }
  bool number_float(double, const std::string& text) override { return refuse(text); }
  bool binary(binary_t&) override { return refuse("bytes"); }

  bool number_unsigned(std::uint64_t value) override {
    if (depth_ != 3 || value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return refuse(fmt::to_string(value));
    }
    std::vector<std::int64_t>& numbers = key_ == kShape ? tensor_.shape : offsets_;
    PB_CHECK(numbers.size() < (key_ == kShape ? kMaxDimensions : 2), "{} has more numbers than {}", where(),
             key_ == kShape ? fmt::format("the {} sizes that a tensor may have", kMaxDimensions) : "[begin, end]");
    numbers.push_back(static_cast<std::int64_t>(value));
    return true;
  }

  bool string(std::string& value) override {
    if (depth_ == 2 && in_metadata_) {
      const bool added = entries_.metadata.emplace(key_, std::move(value)).second;
      PB_CHECK(added, "{} is there twice", where());
      return true;
    }
    if (depth_ != 2 || key_ != kDtype) return refuse(fmt::format("\"{}\"", shown(value)));
    const auto known = std::ranges::find_if(kDtypes, [&](const auto& dtype) { return value == dtype.first; });
    PB_CHECK(known != kDtypes.end(), "{} is \"{}\", which this program does not read", where(), shown(value));
    dtype_name_ = known->first;
    tensor_.dtype = known->second;
    return true;
  }

  bool start_object(std::size_t) override {
    if (depth_ > 1) return refuse("an object");
    if (++depth_ == 1) return true;
    in_metadata_ = name_ == kMetadata;
    PB_CHECK(!in_metadata_ || !std::exchange(had_metadata_, true), "{}: {} is there twice", path_.string(), kMetadata);
    seen_.clear();
    key_.clear();
    tensor_ = {.name = name_, .dtype = {}, .shape = {}};
    return true;
  }

  bool key(std::string& key) override {
    if (depth_ == 1) {
      name_ = std::move(key);
      return true;
    }
    key_ = std::move(key);
    if (in_metadata_) return true;
    PB_CHECK(key_ == kDtype || key_ == kShape || key_ == kOffsets, "{}: expected {}, {} and {}, found '{}'", tensor(),
             kDtype, kShape, kOffsets, shown(key_));
    PB_CHECK(seen_.insert(key_).second, "{} is there twice", where());
    return true;
  }

  bool end_object() override {
    if (--depth_ == 1 && !in_metadata_) add_tensor();
    return true;
  }

  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_metadata_ || key_ == kDtype) return refuse("a list");
    ++depth_;
    (key_ == kShape ? tensor_.shape : offsets_).clear();
    return true;
  }

  bool end_array() override {
    --depth_;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const json::exception& error) override {
    fail(fmt::format("{} is not a safetensors file: its header is not JSON: {}", path_.string(),
                     json_reason(error.what())));
  }

 private:
  static constexpr const char* kDtype = "dtype";
  static constexpr const char* kShape = "shape";
  static constexpr const char* kOffsets = "data_offsets";
  static constexpr std::size_t kMaxDimensions = 64;  // LibTorch's operations take no more

  std::string tensor() const { return fmt::format("{}: tensor '{}'", path_.string(), shown(name_)); }

  // Returns the place of what is being read, for messages.
  std::string where() const {
    if (in_metadata_) return fmt::format("{}: metadata '{}'", path_.string(), shown(key_));
    return fmt::format("{}: {}", tensor(), key_);
  }

  [[noreturn]] bool refuse(const std::string& found) const {
    PB_CHECK(depth_ > 0, "{} is not a safetensors file: its header is not a JSON object", path_.string());
    PB_CHECK(depth_ > 1, "{}: expected {}, {} and {}, found {}", tensor(), kDtype, kShape, kOffsets, found);
    const char* expected = in_metadata_     ? "a string"
                           : key_ == kDtype ? "a string"
                           : key_ == kShape ? "a list of sizes"
                                            : "[begin, end]";
    fail(fmt::format("{} {} {}, expected {}", where(), depth_ == 3 ? "has" : "is", found, expected));
  }

  void add_tensor() {
    PB_CHECK(seen_.size() == 3, "{}: expected {}, {} and {}, found {}", tensor(), kDtype, kShape, kOffsets,
             seen_.empty() ? "nothing" : fmt::format("{} alone", fmt::join(seen_, " and ")));
    // LibTorch counts strides over the sizes that are not 0, so these may not overflow either.
    std::int64_t bytes = item_bytes(tensor_.dtype), extent = bytes;
    for (const std::int64_t size : tensor_.shape) {
      PB_CHECK(!__builtin_mul_overflow(extent, std::max<std::int64_t>(size, 1), &extent),
               "{} has shape [{}], expected a list of sizes whose product is below 2^63", tensor(),
               fmt::join(tensor_.shape, ","));
      bytes *= size;
    }
    PB_CHECK(offsets_.size() == 2 && offsets_[0] <= offsets_[1], "{} has {} [{}], expected [begin, end]", tensor(),
             kOffsets, fmt::join(offsets_, ","));
    tensor_.begin = offsets_[0];
    tensor_.end = offsets_[1];
    PB_CHECK(tensor_.end - tensor_.begin == bytes, "{} holds {} bytes, but {} [{}] needs {}", tensor(),
             tensor_.end - tensor_.begin, dtype_name_, fmt::join(tensor_.shape, ","), bytes);
    entries_.tensors.push_back(std::move(tensor_));
  }

  const std::filesystem::path& path_;
  Entries& entries_;
  int depth_ = 0;
  bool in_metadata_ = false, had_metadata_ = false;
  std::string name_, key_;
  std::set<std::string> seen_;  // keys of the tensor
  TensorInfo tensor_;
  const char* dtype_name_ = "";
  std::vector<std::int64_t> offsets_;
};

struct Header : Entries {
  std::int64_t data_begin = 0, file_bytes = 0;
};

Header read_header(int fd, const std::filesystem::path& path) {
  struct stat status{};
  PB_CHECK(::fstat(fd, &status) == 0, "cannot read {}: {}", path.string(), std::strerror(errno));
  Header header;
  header.file_bytes = status.st_size;
  PB_CHECK(header.file_bytes >= kLengthBytes, "{} is {} bytes long: too short for a safetensors file", path.string(),
           header.file_bytes);
  std::uint64_t header_bytes = 0;
  read_exactly(fd, std::as_writable_bytes(std::span(&header_bytes, 1)), 0, path);
  PB_CHECK(header_bytes <= static_cast<std::uint64_t>(std::min(kMaxHeaderBytes, header.file_bytes - kLengthBytes)),
           "{} is not a whole safetensors file: its header would be {} bytes, the file is {}, and at most {} are read",
           path.string(), header_bytes, header.file_bytes, kMaxHeaderBytes);
  std::string text(header_bytes, '\0');
  read_exactly(fd, std::as_writable_bytes(std::span(text)), kLengthBytes, path);
  HeaderReader reader(path, header);
  json::sax_parse(text, &reader);
  header.data_begin = kLengthBytes + static_cast<std::int64_t>(header_bytes);
  return header;
}

void check_names(const std::vector<TensorInfo>& tensors, const std::filesystem::path& path) {
  std::vector<std::string_view> names;
  names.reserve(tensors.size());
  for (const TensorInfo& info : tensors) names.push_back(info.name);
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  PB_CHECK(twice == names.end(), "{}: tensor '{}' is there twice", path.string(), shown(*twice));
}

std::vector<TensorInfo> list(int fd, const std::filesystem::path& path) {
  Header header = read_header(fd, path);
  std::vector<TensorInfo> tensors = std::move(header.tensors);
  check_names(tensors, path);
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });

  // Each tensor begins where the one before ended, and the last ends with the file.
  const std::int64_t data_bytes = header.file_bytes - header.data_begin;
  const auto check_end = [&](std::int64_t end, bool good) {
    PB_CHECK(good, "{} holds {} bytes of data, its header describes {}: it was cut or added to", path.string(),
             data_bytes, end);
  };
  std::int64_t expected = 0;
  for (TensorInfo& info : tensors) {
    PB_CHECK(info.begin == expected, "{}: tensor '{}' begins at byte {} of the data, expected {}: {}", path.string(),
             shown(info.name), info.begin, expected, info.begin < expected ? "it overlaps another" : "there is a hole");
    check_end(info.end, info.end <= data_bytes);
    expected = info.end;
    info.begin += header.data_begin;
    info.end += header.data_begin;
  }
  check_end(expected, expected == data_bytes);
  return tensors;
}

// Allocates a tensor; the machine may not have the memory.
torch::Tensor empty_tensor(const TensorInfo& info, const std::filesystem::path& path) {
  try {
    return at::empty(info.shape, info.dtype);
  } catch (const c10::Error& error) {
    fail(fmt::format("{}: tensor '{}' of {} bytes: {}", path.string(), shown(info.name), info.end - info.begin,
                     error.what_without_backtrace()));
  }
}

}  // namespace

Layout layout_safetensors(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) {
  Layout layout;
  for (const auto& [name, tensor] : tensors) {
    layout.tensors.push_back({.name = name, .dtype = tensor.scalar_type(), .shape = tensor.sizes().vec()});
  }
  // Widest items first, as the reference implementation does, so that every tensor is aligned.
  std::ranges::stable_sort(layout.tensors, std::ranges::greater(),
                           [](const TensorInfo& info) { return item_bytes(info.dtype); });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  std::int64_t offset = 0;
  for (TensorInfo& info : layout.tensors) {
    const auto dtype = std::ranges::find_if(kDtypes, [&](const auto& known) { return known.second == info.dtype; });
    PB_CHECK(dtype != kDtypes.end(), "tensor '{}' has dtype {}, which safetensors does not hold", info.name,
             c10::toString(info.dtype));
    info.begin = offset;
    info.end = offset += static_cast<std::int64_t>(tensors.at(info.name).nbytes());
    header[info.name] = {{"dtype", dtype->first}, {"shape", info.shape}, {"data_offsets", {info.begin, info.end}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t header_bytes = text.size();
  layout.head = std::string(reinterpret_cast<const char*>(&header_bytes), sizeof header_bytes) + text;

  const std::int64_t data_begin = std::ssize(layout.head);
  for (TensorInfo& info : layout.tensors) {
    info.begin += data_begin;
    info.end += data_begin;
  }
  layout.bytes = data_begin + offset;
  return layout;
}

Digest write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                         const std::map<std::string, std::string>& metadata) {
  const Layout layout = layout_safetensors(tensors, metadata);
  DigestedFile file(path);
  file.write(std::as_bytes(std::span(layout.head)));
  for (const TensorInfo& info : layout.tensors) {
    const torch::Tensor host = tensors.at(info.name).detach().cpu().contiguous();
    file.write({static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()});
  }
  return file.finish();
}

NamedTensors read_safetensors(const std::filesystem::path& path) {
  const FileDescriptor fd = open_for_reading(path);
  NamedTensors tensors;
  // Read, not mapped: if a file shrinks or a disk fails, this throws Error; a mapped file would cause SIGBUS.
  for (const TensorInfo& info : list(fd.get(), path)) {
    torch::Tensor tensor = empty_tensor(info, path);
    read_exactly(fd.get(), {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()}, info.begin, path);
    tensors.emplace(info.name, std::move(tensor));
  }
  return tensors;
}

std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path) {
  return read_header(open_for_reading(path).get(), path).metadata;
}

std::vector<TensorInfo> list_safetensors(const std::filesystem::path& path) {
  return list(open_for_reading(path).get(), path);
}

Digest digest_of(const NamedTensors& tensors) {
  Digest digest;
  for (const auto& [name, tensor] : tensors) {
    const torch::Tensor host = tensor.detach().cpu().contiguous();
    digest.bytes += static_cast<std::int64_t>(host.nbytes());
    digest.crc32c = crc32c({static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()}, digest.crc32c);
  }
  return digest;
}

Digest digest_of(const std::string& text) {
  return {static_cast<std::int64_t>(text.size()), crc32c(std::as_bytes(std::span(text)))};
}

bool is_finite(const torch::Tensor& tensor) {
  if (!tensor.is_floating_point() || tensor.numel() == 0) return true;
  const auto [least, most] = at::aminmax(tensor);  // both NaN where one value is
  return std::isfinite(least.item<double>()) && std::isfinite(most.item<double>());
}

void check_finite(const NamedTensors& tensors, const std::string& where) {
  for (const auto& [name, tensor] : tensors) {
    PB_CHECK(is_finite(tensor), "{}: tensor '{}' holds values that are not finite (NaN or infinite)", where, name);
  }
}

}  // namespace pixelbert::checkpoint
