/*
 * The arithmetic of the edge's networks in a browser. `make kernels` compiles it for every browser with SIMD (kernels) and
 * for those that have 8-bit dot products too (relaxed); each for one thread, and for several on one memory (-shared).
 * Integers are the same, floats to their last places. A call keeps nothing but on the stack, of which each thread has one.
 *
 * Pictures and maps lie pixel by pixel, channels together. A byte q of a quantised map is stored as q - 128; weights
 * have 7 bits, -63 to 63. A convolution's sums are of integers and exact; `scales`, `offsets` and `zero` make bytes of
 * them again, rounding halves to even, as onnxruntime does.
 */

#include <stdint.h>
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(#name))) void name
#define INLINE static inline __attribute__((always_inline))

/* What this was compiled of, in the result: a test compares. */
const char made_of[] = SOURCE;

enum {
  ROWS = 6,    /* pixels whose sums are in registers together; plan.js shares out by as many */
  LANES = 8,   /* channels whose sums are */
  TILE = 48,   /* pixels whose inputs are gathered together */
  TILE_BYTES = 32768,
  SPARE = 1024, /* bytes that loads and stores may reach beyond what is meant */
};

#ifdef __wasm_relaxed_simd__
/* Weights go in as 0 to 127; what that adds, 64 times a pixel's sum, is taken away again. */
enum { STEP = 4, SHIFT = 64 };
#define DOT(x, w, sum) wasm_i32x4_relaxed_dot_i8x16_i7x16_add(x, w, sum)
#define MADD(x, w, sum) wasm_f32x4_relaxed_madd(x, w, sum)
#else
enum { STEP = 2, SHIFT = 0 };
#define DOT(x, w, sum) wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(x, w))
#define MADD(x, w, sum) wasm_f32x4_add(sum, wasm_f32x4_mul(x, w))
#endif

#define SHIFTED 12582912.0f /* 1.5 * 2^23: adding it leaves whole numbers, */
#define UNSHIFTED 0x4B400000 /* which are its bits less these */

/* Numbers to whole ones between `low` and `high`. */
INLINE v128_t whole(v128_t number, v128_t low, v128_t high) {
  v128_t kept = wasm_f32x4_pmin(wasm_f32x4_pmax(number, low), high);
  return wasm_i32x4_sub(wasm_f32x4_add(kept, wasm_f32x4_const_splat(SHIFTED)), wasm_i32x4_const_splat(UNSHIFTED));
}

INLINE void store(int8_t *out, v128_t bytes, int count) {
  if (count >= LANES) {
    wasm_v128_store64_lane(out, bytes, 0);
    return;
  }
  int8_t spare[16];
  wasm_v128_store(spare, bytes);
  for (int lane = 0; lane < count; lane++) out[lane] = spare[lane];
}

INLINE int most_rows(int bytes) {
  int rows = TILE_BYTES / bytes / ROWS * ROWS;
  return rows < ROWS ? ROWS : rows > TILE ? TILE : rows;
}

/* Weights, `inputs` of each of `outputs` channels, in the order in which `convolve` reads them. */
EXPORT(pack)(int8_t *out, const int8_t *weights, int outputs, int inputs) {
  for (int lane = 0; lane < outputs; lane += LANES)
    for (int input = 0; input < inputs; input += STEP)
      for (int of = lane; of < lane + LANES; of++)
        for (int at = input; at < input + STEP; at++) {
          int weight = of < outputs && at < inputs ? weights[of * inputs + at] + SHIFT : 0;
          if (STEP == 4) *out++ = weight;
          else *(int16_t *)out = weight, out += 2;
        }
}

EXPORT(pack_floats)(float *out, const float *weights, int outputs, int inputs) {
  for (int lane = 0; lane < outputs; lane += LANES)
    for (int input = 0; input < inputs; input++)
      for (int of = lane; of < lane + LANES; of++) *out++ = of < outputs ? weights[of * inputs + input] : 0;
}

/* A frame of `fill` around a map; sizes are in bytes. */
EXPORT(pad)(int8_t *out, const int8_t *in, int rows, int line, int top, int left, int bottom, int right, int fill) {
  int wide = left + line + right;
  __builtin_memset(out, fill, top * wide);
  out += top * wide;
  for (int row = 0; row < rows; row++, in += line, out += wide) {
    __builtin_memset(out, fill, left);
    __builtin_memcpy(out + left, in, line);
    __builtin_memset(out + left + line, fill, right);
  }
  __builtin_memset(out, fill, bottom * wide);
}

/* `fill` all around a map that lies in the middle of them already; sizes in bytes. */
EXPORT(frame)(int8_t *out, int rows, int line, int top, int left, int bottom, int right, int fill) {
  int wide = left + line + right;
  __builtin_memset(out, fill, top * wide + left);
  out += top * wide + left + line;
  for (int row = 0; row < rows; row++, out += wide) __builtin_memset(out, fill, row + 1 < rows ? left + right : right);
  __builtin_memset(out - wide + right, fill, bottom * wide);
}

/* What pixels `from` to `to` of a convolution read, a line each; sizes are in bytes. */
INLINE void gather(int8_t *out, const int8_t *in, int from, int to, int cols, int across, int down, int high, int wide,
                   int pitch) {
  for (int pixel = from; pixel < to; pixel++) {
    const int8_t *at = in + pixel / cols * down + pixel % cols * across;
    for (int row = 0; row < high; row++, out += wide, at += pitch)
      for (int byte = 0; byte < wide; byte += 16) wasm_v128_store(out + byte, wasm_v128_load(at + byte));
  }
}

INLINE void sums_of(v128_t sums[][2], const int8_t *in, int line, const int8_t *weights, int steps, int rows,
                    const int32_t *offsets, const int *extra) {
  v128_t start = wasm_v128_load(offsets), second_start = wasm_v128_load(offsets + 4);
  for (int row = 0; row < rows; row++) {
    v128_t less = wasm_i32x4_splat(extra[row]);
    sums[row][0] = SHIFT ? wasm_i32x4_sub(start, less) : start;
    sums[row][1] = SHIFT ? wasm_i32x4_sub(second_start, less) : second_start;
  }
  for (int step = 0; step < steps; step++, in += 4, weights += 32) {
    v128_t first = wasm_v128_load(weights), second = wasm_v128_load(weights + 16);
    for (int row = 0; row < rows; row++) {
      v128_t x = wasm_v128_load32_splat(in + row * line);
      sums[row][0] = DOT(x, first, sums[row][0]);
      sums[row][1] = DOT(x, second, sums[row][1]);
    }
  }
}

typedef struct {
  const float *scales;
  v128_t zero; /* and what makes a whole number of a shifted one */
} Finish;

/* Sums to bytes. They are scaled to less than 2^22, the caller sees to it; narrowing cuts them off. */
INLINE void finish(int8_t *out, v128_t sums[2], const Finish *as, int lane, int count) {
  v128_t bytes[2];
  for (int half = 0; half < 2; half++) {
    v128_t number = wasm_f32x4_convert_i32x4(sums[half]);
    v128_t scaled = wasm_f32x4_mul(number, wasm_v128_load(as->scales + lane + 4 * half));
    bytes[half] = wasm_i32x4_add(wasm_f32x4_add(scaled, wasm_f32x4_const_splat(SHIFTED)), as->zero);
  }
  v128_t shorts = wasm_i16x8_narrow_i32x4(bytes[0], bytes[1]);
  store(out, wasm_i8x16_narrow_i16x8(shorts, shorts), count);
}

INLINE int total(const int8_t *in, int count) {
  v128_t sum = wasm_i32x4_const_splat(0);
  int at = 0, rest = 0;
  for (; at + 16 <= count; at += 16)
    sum = wasm_i32x4_add(sum, wasm_i32x4_extadd_pairwise_i16x8(wasm_i16x8_extadd_pairwise_i8x16(wasm_v128_load(in + at))));
  for (; at < count; at++) rest += in[at];
  return rest + wasm_i32x4_extract_lane(sum, 0) + wasm_i32x4_extract_lane(sum, 1) + wasm_i32x4_extract_lane(sum, 2) +
         wasm_i32x4_extract_lane(sum, 3);
}

/* Bytes as 16-bit numbers, an even count a line. */
INLINE void widen(int16_t *out, const int8_t *in, int rows, int inputs) {
  int even = (inputs + 1) / 2 * 2;
  for (int row = 0; row < rows; row++, out += even, in += inputs)
    for (int at = 0; at < inputs; at += 8) wasm_v128_store(out + at, wasm_i16x8_load8x8(in + at));
}

/* Where pixels of a tile go: lines of `cols` pixels, `line` bytes from one to the next. */
INLINE void places(int8_t *at[], int8_t *out, int from, int count, int cols, int pixel, int line) {
  int row = from / cols, col = from % cols;
  for (int index = 0; index < count; index++) {
    at[index] = out + row * line + col * pixel;
    if (++col == cols) col = 0, row++;
  }
}

/*
 * A convolution of a map that is padded already: `pixels` of it from `first` on, in lines of `cols`. `across` and `down`
 * are bytes from what one pixel reads to what the next does, `high` lines of `wide` bytes, `pitch` apart; `line` bytes
 * from one row of `out` to the next.
 */
EXPORT(convolve)(int8_t *out, const int8_t *in, int first, int pixels, int cols, int across, int down, int high, int wide,
                 int pitch, const int8_t *weights, int outputs, const float *scales, const int32_t *offsets, int zero,
                 int line) {
  int inputs = high * wide, steps = (inputs + STEP - 1) / STEP, end = first + pixels, most = most_rows(inputs);
  int room = TILE_BYTES + LANES * inputs + SPARE;
  int8_t scratch[room];
  int16_t wider[SHIFT ? 1 : room];
  int direct = high == 1 && across == wide && down == cols * wide, reach = SHIFT ? inputs : 4 * steps;
  Finish as = {scales, wasm_i32x4_splat(zero - UNSHIFTED)};
  for (int from = first; from < end; from += most) {
    int count = end - from < most ? end - from : most, extra[TILE];
    int8_t *at[TILE];
    const int8_t *lines = in + from * wide;
    places(at, out, from, count, cols, outputs, line);
    if (!direct) gather(scratch, in, from, from + count, cols, across, down, high, wide, pitch), lines = scratch;
    for (int row = 0; row < count; row++) extra[row] = SHIFT ? SHIFT * total(lines + row * inputs, inputs) : 0;
    if (!SHIFT) widen(wider, lines, count, inputs), lines = (int8_t *)wider;
    for (int lane = 0; lane < outputs; lane += LANES) {
      const int8_t *mine = weights + lane / LANES * steps * 32;
      int left = outputs - lane, row = 0;
      v128_t sums[ROWS][2];
      for (; row + ROWS <= count; row += ROWS) {
        sums_of(sums, lines + row * reach, reach, mine, steps, ROWS, offsets + lane, extra + row);
        for (int of = 0; of < ROWS; of++) finish(at[row + of] + lane, sums[of], &as, lane, left);
      }
      for (; row < count; row++) {
        sums_of(sums, lines + row * reach, reach, mine, steps, 1, offsets + lane, extra + row);
        finish(at[row] + lane, sums[0], &as, lane, left);
      }
    }
  }
}

INLINE void float_sums(v128_t sums[][2], const float *in, int line, const float *weights, int inputs, int rows) {
  for (int row = 0; row < rows; row++) sums[row][0] = sums[row][1] = wasm_f32x4_const_splat(0);
  for (int input = 0; input < inputs; input++, in++, weights += LANES) {
    v128_t first = wasm_v128_load(weights), second = wasm_v128_load(weights + 4);
    for (int row = 0; row < rows; row++) {
      v128_t x = wasm_v128_load32_splat(in + row * line);
      sums[row][0] = MADD(x, first, sums[row][0]);
      sums[row][1] = MADD(x, second, sums[row][1]);
    }
  }
}

typedef struct {
  const float *bias;
  v128_t low;
} FloatFinish;

INLINE v128_t settled(v128_t sum, const FloatFinish *as) { return wasm_f32x4_pmax(sum, as->low); }

INLINE void float_finish(float *out, v128_t sums[2], const FloatFinish *as, int lane, int count) {
  v128_t first = settled(wasm_f32x4_add(sums[0], wasm_v128_load(as->bias + lane)), as);
  v128_t second = settled(wasm_f32x4_add(sums[1], wasm_v128_load(as->bias + lane + 4)), as);
  if (count >= LANES) {
    wasm_v128_store(out, first);
    wasm_v128_store(out + 4, second);
    return;
  }
  float spare[LANES];
  wasm_v128_store(spare, first);
  wasm_v128_store(spare + 4, second);
  for (int at = 0; at < count; at++) out[at] = spare[at];
}

/* As `convolve`, in floats: sizes in bytes too. */
EXPORT(convolve_floats)(float *out, const float *in, int first, int pixels, int cols, int across, int down, int high,
                        int wide, int pitch, const float *weights, int outputs, const float *bias, float low) {
  int inputs = high * wide / 4, end = first + pixels, most = most_rows(high * wide);
  float scratch[(TILE_BYTES + SPARE) / 4 + LANES * inputs];
  int direct = high == 1 && across == wide && down == cols * wide;
  FloatFinish as = {bias, wasm_f32x4_splat(low)};
  for (int from = first; from < end; from += most) {
    int count = end - from < most ? end - from : most;
    const float *lines = in + from * inputs;
    if (!direct) {
      gather((int8_t *)scratch, (const int8_t *)in, from, from + count, cols, across, down, high, wide, pitch);
      lines = scratch;
    }
    for (int lane = 0; lane < outputs; lane += LANES) {
      const float *mine = weights + lane * inputs;
      int left = outputs - lane;
      v128_t sums[ROWS][2];
      int row = 0;
      for (; row + ROWS <= count; row += ROWS) {
        float_sums(sums, lines + row * inputs, inputs, mine, inputs, ROWS);
        for (int of = 0; of < ROWS; of++) float_finish(out + (from + row + of) * outputs + lane, sums[of], &as, lane, left);
      }
      for (; row < count; row++) {
        float_sums(sums, lines + row * inputs, inputs, mine, inputs, 1);
        float_finish(out + (from + row) * outputs + lane, sums[0], &as, lane, left);
      }
    }
  }
}

/* Eight channels of `count` pixels beside each other. Three products of 7 and 8 bits fit in 16. */
INLINE void deep(int8_t *out, const int8_t *in, int kernel, int stride, int count, int pitch, int channels,
                 const int16_t *weights, const int32_t *offsets, const Finish *as, int lane) {
  v128_t sums[4][2], seen[12];
  for (int at = 0; at < count; at++)
    for (int half = 0; half < 2; half++) sums[at][half] = wasm_v128_load(offsets + lane + 4 * half);
  for (int row = 0; row < kernel; row++, in += pitch) {
    int wide = (count - 1) * stride + kernel;
    for (int col = 0; col < wide; col++) seen[col] = wasm_i16x8_load8x8(in + col * channels);
    for (int col = 0; col < kernel; col += 3) {
      v128_t some[4];
      for (int tap = col; tap < kernel && tap < col + 3; tap++) {
        v128_t weight = wasm_v128_load(weights + (row * kernel + tap) * channels);
        for (int at = 0; at < count; at++) {
          v128_t product = wasm_i16x8_mul(seen[at * stride + tap], weight);
          some[at] = tap == col ? product : wasm_i16x8_add(some[at], product);
        }
      }
      for (int at = 0; at < count; at++) {
        sums[at][0] = wasm_i32x4_add(sums[at][0], wasm_i32x4_extend_low_i16x8(some[at]));
        sums[at][1] = wasm_i32x4_add(sums[at][1], wasm_i32x4_extend_high_i16x8(some[at]));
      }
    }
  }
  for (int at = 0; at < count; at++) finish(out + at * channels, sums[at], as, lane, LANES);
}

INLINE void deepen(int8_t *out, const int8_t *in, int rows, int cols, int kernel, int stride, int pitch, int channels,
                   const int16_t *weights, const int32_t *offsets, const Finish *as) {
  enum { SIDE = 4 };
  for (int row = 0; row < rows; row++, in += stride * pitch, out += cols * channels)
    for (int lane = 0; lane < channels; lane += LANES) {
      int col = 0;
      for (; col + SIDE <= cols; col += SIDE)
        deep(out + col * channels + lane, in + col * stride * channels + lane, kernel, stride, SIDE, pitch, channels,
             weights + lane, offsets, as, lane);
      for (; col < cols; col++)
        deep(out + col * channels + lane, in + col * stride * channels + lane, kernel, stride, 1, pitch, channels,
             weights + lane, offsets, as, lane);
    }
}

/* A convolution of each channel by itself, kernel 3 or 5, stride 1 or 2; channels a multiple of LANES. */
EXPORT(deepwise)(int8_t *out, const int8_t *in, int rows, int cols, int kernel, int stride, int pitch, int channels,
                 const int16_t *weights, const float *scales, const int32_t *offsets, int zero) {
  Finish as = {scales, wasm_i32x4_splat(zero - UNSHIFTED)};
  if (kernel == 3 && stride == 1) deepen(out, in, rows, cols, 3, 1, pitch, channels, weights, offsets, &as);
  if (kernel == 3 && stride == 2) deepen(out, in, rows, cols, 3, 2, pitch, channels, weights, offsets, &as);
  if (kernel == 5 && stride == 1) deepen(out, in, rows, cols, 5, 1, pitch, channels, weights, offsets, &as);
  if (kernel == 5 && stride == 2) deepen(out, in, rows, cols, 5, 2, pitch, channels, weights, offsets, &as);
}

INLINE void deep_floats(float *out, const float *in, int count, int pitch, int channels, const float *weights,
                        const FloatFinish *as, int lane) {
  v128_t sums[4];
  for (int at = 0; at < count; at++) sums[at] = wasm_f32x4_const_splat(0);
  for (int row = 0; row < 3; row++, in += pitch)
    for (int col = 0; col < 3; col++) {
      v128_t weight = wasm_v128_load(weights + (row * 3 + col) * channels);
      for (int at = 0; at < count; at++)
        sums[at] = MADD(wasm_v128_load(in + (at + col) * channels), weight, sums[at]);
    }
  for (int at = 0; at < count; at++)
    wasm_v128_store(out + at * channels, settled(wasm_f32x4_add(sums[at], wasm_v128_load(as->bias + lane)), as));
}

/* The same in floats, kernel 3 and stride 1; channels a multiple of four; pitch in numbers. */
EXPORT(deepwise_floats)(float *out, const float *in, int rows, int cols, int pitch, int channels, const float *weights,
                        const float *bias, float low) {
  FloatFinish as = {bias, wasm_f32x4_splat(low)};
  for (int row = 0; row < rows; row++, in += pitch, out += cols * channels)
    for (int lane = 0; lane < channels; lane += 4) {
      int col = 0;
      for (; col + 4 <= cols; col += 4)
        deep_floats(out + col * channels + lane, in + col * channels + lane, 4, pitch, channels, weights + lane, &as, lane);
      for (; col < cols; col++)
        deep_floats(out + col * channels + lane, in + col * channels + lane, 1, pitch, channels, weights + lane, &as, lane);
    }
}

/* Floats to bytes, eight at a time: up to seven more are read and written. */
EXPORT(quantise)(int8_t *out, const float *in, int count, float scale, int zero) {
  v128_t by = wasm_f32x4_splat(scale), low = wasm_f32x4_splat(-zero), high = wasm_f32x4_splat(255 - zero);
  v128_t from = wasm_i32x4_splat(zero - 128);
  for (int at = 0; at < count; at += 8) {
    v128_t first = whole(wasm_f32x4_div(wasm_v128_load(in + at), by), low, high);
    v128_t second = whole(wasm_f32x4_div(wasm_v128_load(in + at + 4), by), low, high);
    v128_t shorts = wasm_i16x8_narrow_i32x4(wasm_i32x4_add(first, from), wasm_i32x4_add(second, from));
    wasm_v128_store64_lane(out + at, wasm_i8x16_narrow_i16x8(shorts, shorts), 0);
  }
}

/* Two maps added, eight bytes at a time as well: fixed + a * times_a + b * times_b of the bytes as stored. */
EXPORT(add)(int8_t *out, const int8_t *a, const int8_t *b, int count, float times_a, float times_b, float fixed) {
  v128_t by_a = wasm_f32x4_splat(times_a), by_b = wasm_f32x4_splat(times_b), start = wasm_f32x4_splat(fixed);
  v128_t low = wasm_f32x4_const_splat(-128), high = wasm_f32x4_const_splat(127);
  for (int at = 0; at < count; at += 8) {
    v128_t x = wasm_i16x8_load8x8(a + at), y = wasm_i16x8_load8x8(b + at), halves[2];
    for (int half = 0; half < 2; half++) {
      v128_t p = wasm_f32x4_convert_i32x4(half ? wasm_i32x4_extend_high_i16x8(x) : wasm_i32x4_extend_low_i16x8(x));
      v128_t q = wasm_f32x4_convert_i32x4(half ? wasm_i32x4_extend_high_i16x8(y) : wasm_i32x4_extend_low_i16x8(y));
      halves[half] = whole(MADD(q, by_b, MADD(p, by_a, start)), low, high);
    }
    v128_t shorts = wasm_i16x8_narrow_i32x4(halves[0], halves[1]);
    wasm_v128_store64_lane(out + at, wasm_i8x16_narrow_i16x8(shorts, shorts), 0);
  }
}

/* What a table of 256 says of each byte. */
EXPORT(look_up)(int8_t *out, const int8_t *in, int count, const int8_t *table) {
  for (int at = 0; at < count; at++) out[at] = table[in[at] + 128];
}

/* The same with a table of floats, `channels` a pixel into lines of `line`. */
EXPORT(look_up_floats)(float *out, const int8_t *in, int pixels, int channels, int line, const float *table) {
  for (int pixel = 0; pixel < pixels; pixel++, out += line, in += channels)
    for (int at = 0; at < channels; at++) out[at] = table[in[at] + 128];
}
