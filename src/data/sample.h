// A pair with its text: what a batch is made of.
#pragma once

#include <string>

#include "data/sample_stream.h"

namespace pixelbert::data {

struct Sample {
  Pair pair;
  std::string text;
  bool matched = true;  // the text belongs to the image
};

}  // namespace pixelbert::data
