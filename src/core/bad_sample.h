// Reasons why a stored sample cannot be used: labels of pixelbert_bad_samples_total, and counts in shard manifests.
#pragma once

namespace pixelbert::bad_sample {

constexpr const char* kEmpty = "empty";
constexpr const char* kNotAnImage = "not-an-image";
constexpr const char* kUnsupportedFormat = "unsupported-format";
constexpr const char* kTruncated = "truncated";
constexpr const char* kCorrupt = "corrupt";
constexpr const char* kTooLarge = "too-large";
constexpr const char* kChecksum = "checksum";

constexpr const char* kAll[] = {kEmpty, kNotAnImage, kUnsupportedFormat, kTruncated, kCorrupt, kTooLarge, kChecksum};

}  // namespace pixelbert::bad_sample
