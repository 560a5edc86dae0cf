// What a batch carries.
#pragma once

#include "images/image_ops.h"
#include "text/text_config.h"

namespace pixelbert::data {

struct BatchConfig {
  text::TextConfig text = {};
  images::ImageConfig image = {};
  bool sample_pixels = true;  // fill pixel_keys (pre-training); false: all pixels
  bool unlabelled = false;    // texts without an answer are fine, where nothing is learned
  bool blank_images = false;  // every image becomes the mean colour: what text alone gives
};

}  // namespace pixelbert::data
