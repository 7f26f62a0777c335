// One pass of a decoder over a few tokens, for machines with a C++ compiler; native.py builds and calls it.
//
// At one token per text and step, PyTorch's time goes into calling some three hundred small operations; here a step is one
// call. What it computes is what `Decoder` computes, to rounding. A row's numbers depend on that row alone, bit by bit:
// every sum runs in one fixed order, whatever rows stand beside it and however many threads share the work.
//
// Letters: R rows (tokens), D width of the residual stream, Dh width of a head, K inputs and N outputs of a matrix.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include <omp.h>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

constexpr long LANES = 16;          // numbers of a Vector; the compiler splits it where registers are narrower
constexpr long PANEL = 2 * LANES;   // columns of a matrix that are computed together
#ifdef __AVX512F__
constexpr long MOST_ROWS = 12;      // rows computed together: 24 sums, 2 vectors of weights and one of x fill 32 registers
#else
constexpr long MOST_ROWS = 3;
#endif

constexpr long FEW_ROWS = 64;       // up to which every thread normalises all rows for itself
constexpr long CACHED = 1 << 18;    // bytes of rows that pass through a matrix together

typedef float Vector __attribute__((vector_size(64)));
typedef float Half_vector __attribute__((vector_size(32)));
typedef float Quarter_vector __attribute__((vector_size(16)));
typedef int32_t Integers __attribute__((vector_size(64)));
typedef uint16_t Shorts __attribute__((vector_size(32)));

struct Bf16 { uint16_t bits; };     // the upper half of a float

// ---------------------------------------------------------------------------------------------------------- small parts

inline Vector load(const float* from) { Vector v; std::memcpy(&v, from, sizeof v); return v; }
inline void store(float* to, Vector v) { std::memcpy(to, &v, sizeof v); }

inline Vector load(const Bf16* from) {
    Shorts bits;
    std::memcpy(&bits, from, sizeof bits);
    return (Vector)(__builtin_convertvector(bits, Integers) << 16);
}

inline void store(Bf16* to, Vector v) {  // rounded to the nearest, ties to even
    Integers bits = (Integers)v;
    Integers rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    Shorts upper = __builtin_convertvector(rounded, Shorts);
    std::memcpy(to, &upper, sizeof upper);
}

inline Vector all(float x) { return x - Vector{}; }
inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }
inline Vector smaller(Vector a, Vector b) { return a < b ? a : b; }

inline float sum(Vector v) {
    Half_vector halves[2];
    std::memcpy(halves, &v, sizeof v);
    Half_vector half = halves[0] + halves[1];
    Quarter_vector quarters[2];
    std::memcpy(quarters, &half, sizeof half);
    Quarter_vector quarter = quarters[0] + quarters[1];
    return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

inline float largest(Vector v) {
    float result = v[0];
    for (long lane = 1; lane < LANES; lane++) result = std::max(result, v[lane]);
    return result;
}

// e to the x: 2^n · e^r with |r| ≤ ln 2 ÷ 2, e^r by its Taylor polynomial (relative error below 3e-7).
inline Vector exponential(Vector x) {
    x = larger(smaller(x, all(88.0f)), all(-87.0f));
    const float shift = 12582912.0f;  // 1.5 · 2^23: adding it leaves the nearest whole number in the lowest bits
    Vector n = (x * 1.44269504f + shift) - shift;
    Vector r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Vector p = all(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    Integers power = (__builtin_convertvector(n, Integers) + 127) << 23;
    return p * (Vector)power;
}

inline Vector silu(Vector x) { return x / (1.0f + exponential(-x)); }

inline Vector gelu_by_tanh(Vector x) {  // x · (1 + tanh y) ÷ 2 = x ÷ (1 + e^−2y)
    Vector twice = 1.59576912f * (x + 0.044715f * x * x * x);
    return x / (1.0f + exponential(-twice));
}

inline Vector gelu(Vector x) {
    for (long lane = 0; lane < LANES; lane++) x[lane] *= 0.5f * (1.0f + std::erf(x[lane] * 0.70710678f));
    return x;
}

// --------------------------------------------------------------------------------------------------------- the model

struct Matrix {           // W (N, K) in panels of PANEL columns, each (K, PANEL), for Bf16 (K/2, PANEL, 2); b (N) or null
    const void* panels;
    const float* bias;    // filled up with zeros to whole panels
    int64_t inputs, outputs;
};

struct Norm { const float *weight, *bias; };  // a LayerNorm's; both null for RMSNorm, whose weight is in the matrix behind it

struct Layer {
    Norm attention_norm, feed_forward_norm;
    Matrix queries_keys_values, output, up, down;
    const float* head_norm;  // (H + Hkv, Dh) or null
};

struct Model {
    int64_t layers, width, heads, kv_heads, head_width, hidden, context;
    int64_t activation;      // 0 SwiGLU (up holds 16 columns of the gate, then 16 of up, in each panel), 1 GELU, 2 its approximation
    float epsilon;
    const Layer* layer;
    Norm norm;
    Matrix head;
    const float *embedding, *positions, *cosines, *sines;  // positions or cosines and sines (context, Dh/2) may be null
};

struct Tokens {              // what a pass reads, in the order of their positions within each text
    int64_t rows;
    const int64_t *tokens, *slots, *places;
    int64_t slot_count, capacity;
    void* const* cache;      // each layer's (2, slots, Hkv, capacity, Dh)
    int64_t alone;           // 1 where every row belongs to another text
    int64_t wanted_count;    // rows whose logits are asked for
    const int64_t* wanted;
};

inline long filled(long count, long multiple) { return (count + multiple - 1) / multiple * multiple; }

struct Share { long first, end; };

inline Share share(long count, long thread, long threads) { return {count * thread / threads, count * (thread + 1) / threads}; }

// ------------------------------------------------------------------------------------------------------ matrix products

template <long ROWS>
void tile(const float* x, long stride, const float* weights, long inputs, Vector (*sums)[2]) {
    Vector running[ROWS][2] = {};
    for (long k = 0; k < inputs; k++) {
        Vector first = load(weights + k * PANEL), second = load(weights + k * PANEL + LANES);
        for (long row = 0; row < ROWS; row++) {
            running[row][0] += x[row * stride + k] * first;
            running[row][1] += x[row * stride + k] * second;
        }
    }
    std::memcpy(sums, running, sizeof running);
}

#ifdef __AVX512BF16__
template <long ROWS>
void tile(const Bf16* x, long stride, const Bf16* weights, long inputs, Vector (*sums)[2]) {
    __m512 running[ROWS][2] = {};
    for (long k = 0; k < inputs; k += 2) {
        __m512bh first = (__m512bh)_mm512_loadu_si512(weights + k * PANEL);
        __m512bh second = (__m512bh)_mm512_loadu_si512(weights + k * PANEL + PANEL);
        for (long row = 0; row < ROWS; row++) {
            int32_t pair;
            std::memcpy(&pair, x + row * stride + k, sizeof pair);
            __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
            running[row][0] = _mm512_dpbf16_ps(running[row][0], both, first);
            running[row][1] = _mm512_dpbf16_ps(running[row][1], both, second);
        }
    }
    std::memcpy(sums, running, sizeof running);
}
#endif

template <class Number, long ROWS>
void tile_of(long rows, const Number* x, long stride, const Number* weights, long inputs, Vector (*sums)[2]) {
    if constexpr (ROWS > 1) {
        if (rows < ROWS) return tile_of<Number, ROWS - 1>(rows, x, stride, weights, inputs, sums);
    }
    tile<ROWS>(x, stride, weights, inputs, sums);
}

// finish(row, first column, two vectors of results) for each row and panel of this thread. Many rows are taken in shares
// that stay in the cache while the panels pass by.
template <class Number, class Finish>
void multiply(const Number* x, long stride, long rows, const Matrix& matrix, long thread, long threads, Finish finish) {
    const Share panels = share(filled(matrix.outputs, PANEL) / PANEL, thread, threads);
    const long at_once = std::max(1L, CACHED / long(matrix.inputs * sizeof(Number) * MOST_ROWS)) * MOST_ROWS;
    Vector sums[MOST_ROWS][2];
    for (long start = 0; start < rows; start += at_once) {
        const long end = std::min(rows, start + at_once);
        for (long panel = panels.first; panel < panels.end; panel++) {
            const Number* weights = (const Number*)matrix.panels + panel * matrix.inputs * PANEL;
            const float* bias = matrix.bias ? matrix.bias + panel * PANEL : nullptr;
            for (long row = start; row < end; row += MOST_ROWS) {
                const long count = std::min(MOST_ROWS, end - row);
                tile_of<Number, MOST_ROWS>(count, x + row * stride, stride, weights, matrix.inputs, sums);
                for (long k = 0; k < count; k++) {
                    if (bias) sums[k][0] += load(bias), sums[k][1] += load(bias + LANES);
                    finish(row + k, panel * PANEL, sums[k][0], sums[k][1]);
                }
            }
        }
    }
}

// -------------------------------------------------------------------------------------------------------- parts of a layer

template <class Number>
void normalise(const Model& model, const Norm& norm, const float* x, Number* to) {
    const long width = model.width;
    Vector squares = {}, plain = {};
    for (long i = 0; i < width; i += LANES) {
        Vector v = load(x + i);
        squares += v * v, plain += v;
    }
    if (!norm.weight) {  // the factor √D and the norm's weight are in the matrix that follows
        const float scale = 1.0f / std::sqrt(sum(squares) + model.epsilon * width);
        for (long i = 0; i < width; i += LANES) store(to + i, load(x + i) * scale);
        return;
    }
    const float mean = sum(plain) / width;
    Vector distances = {};
    for (long i = 0; i < width; i += LANES) {
        Vector v = load(x + i) - mean;
        distances += v * v;
    }
    const float scale = 1.0f / std::sqrt(sum(distances) / width + model.epsilon);
    for (long i = 0; i < width; i += LANES) {
        Vector v = (load(x + i) - mean) * scale * load(norm.weight + i);
        store(to + i, norm.bias ? v + load(norm.bias + i) : v);
    }
}

// A head's own norm and the turn by its position's angle, in place.
void prepare_head(const Model& model, const float* head_norm, long place, float* head) {
    const long width = model.head_width, half = width / 2;
    if (head_norm) {
        Vector squares = {};
        for (long i = 0; i < width; i += LANES) squares += load(head + i) * load(head + i);
        const float scale = 1.0f / std::sqrt(sum(squares) + model.epsilon * width);
        for (long i = 0; i < width; i += LANES) store(head + i, load(head + i) * scale * load(head_norm + i));
    }
    if (!model.cosines) return;
    const float *cosines = model.cosines + place * half, *sines = model.sines + place * half;
    for (long i = 0; i < half; i++) {
        const float first = head[i], second = head[i + half];
        head[i] = first * cosines[i] - second * sines[i];
        head[i + half] = second * cosines[i] + first * sines[i];
    }
}

// One query over the positions up to its own: softmax(q · k) v. `scores` has room for them all.
template <class Number>
void attend(const float* query, const Number* keys, const Number* values, long positions, long width, float* scores, Number* to) {
    for (long s = 0; s < positions; s++) {
        Vector products = {};
        for (long i = 0; i < width; i += LANES) products += load(query + i) * load(keys + s * width + i);
        scores[s] = sum(products);
    }
    const long whole = filled(positions, LANES);
    for (long s = positions; s < whole; s++) scores[s] = -INFINITY;
    Vector highest = load(scores);
    for (long s = LANES; s < whole; s += LANES) highest = larger(highest, load(scores + s));
    const float top = largest(highest);
    Vector total = {};
    for (long s = 0; s < whole; s += LANES) {
        Vector weights = exponential(load(scores + s) - top);
        store(scores + s, weights);
        total += weights;  // what fills the last vector up counts 1e-38, nothing beside the highest's 1
    }
    const float scale = 1.0f / sum(total);
    for (long start = 0; start < width; start += 4 * LANES) {
        const long vectors = std::min(4L, (width - start) / LANES);
        Vector mixed[4] = {};
        if (vectors == 4) {
            for (long s = 0; s < positions; s++)
                for (long j = 0; j < 4; j++) mixed[j] += scores[s] * load(values + s * width + start + j * LANES);
        } else {
            for (long s = 0; s < positions; s++)
                for (long j = 0; j < vectors; j++) mixed[j] += scores[s] * load(values + s * width + start + j * LANES);
        }
        for (long j = 0; j < vectors; j++) store(to + start + j * LANES, mixed[j] * scale);
    }
}

// ---------------------------------------------------------------------------------------------------------- the whole pass

struct Widths {  // numbers in a row of each buffer
    long heads, mixed, inner;
    explicit Widths(const Model& m)
        : heads(filled((m.heads + 2 * m.kv_heads) * m.head_width, PANEL)),
          mixed(m.heads * m.head_width),
          inner(filled(m.hidden, PANEL)) {}
};

template <class Number>
struct Pass {
    const Model& model;
    const Tokens& read;
    const Widths widths;
    float *x, *heads, *scores, *logits;  // scores: (threads, capacity filled up)
    Number *normal, *mixed, *inner;
    long thread, threads;

    void run() {
        embed();
        for (long number = 0; number < model.layers; number++) {
            const Layer& layer = model.layer[number];
            normalise_rows(layer.attention_norm);
            times(normal, model.width, layer.queries_keys_values, [&](long row, long column, Vector a, Vector b) {
                store(heads + row * widths.heads + column, a);
                store(heads + row * widths.heads + column + LANES, b);
            });
            attention(layer, (Number*)read.cache[number]);
            times(mixed, widths.mixed, layer.output, [&](long row, long column, Vector a, Vector b) { add(row, column, a, b); });
            normalise_rows(layer.feed_forward_norm);
            times(normal, model.width, layer.up, [&](long row, long column, Vector a, Vector b) { activate(row, column, a, b); });
            times(inner, widths.inner, layer.down, [&](long row, long column, Vector a, Vector b) { add(row, column, a, b); });
        }
        normalise_each(read.wanted_count, model.norm, [&](long k) { return read.wanted[k]; });
        const long stride = filled(model.head.outputs, PANEL);
        multiply(normal, model.width, read.wanted_count, model.head, thread, threads, [&](long row, long column, Vector a, Vector b) {
            store(logits + row * stride + column, a);
            store(logits + row * stride + column + LANES, b);
        });
    }

    template <class Finish>
    void times(const Number* from, long stride, const Matrix& matrix, Finish finish) {
        multiply(from, stride, read.rows, matrix, thread, threads, finish);
#pragma omp barrier
    }

    void embed() {
        const Share mine = share(read.rows, thread, threads);
        for (long row = mine.first; row < mine.end; row++) {
            const float* token = model.embedding + read.tokens[row] * model.width;
            const float* position = model.positions ? model.positions + read.places[row] * model.width : nullptr;
            for (long i = 0; i < model.width; i += LANES)
                store(x + row * model.width + i, position ? load(token + i) + load(position + i) : load(token + i));
        }
#pragma omp barrier
    }

    void normalise_rows(const Norm& norm) {
        normalise_each(read.rows, norm, [](long row) { return row; });
    }

    // Of few rows each thread makes its own copy, which takes less time than waiting for each other.
    template <class Place>
    void normalise_each(long rows, const Norm& norm, Place place) {
        const bool shared = read.rows > FEW_ROWS;
        const Share mine = shared ? share(rows, thread, threads) : Share{0, rows};
        for (long k = mine.first; k < mine.end; k++)
            normalise(model, norm, x + place(k) * model.width, normal + k * model.width);
        if (shared) {
#pragma omp barrier
        }
    }

    void add(long row, long column, Vector a, Vector b) {  // the width is a multiple of LANES, not always of PANEL
        float* to = x + row * model.width + column;
        store(to, load(to) + a);
        if (column + LANES < model.width) store(to + LANES, load(to + LANES) + b);
    }

    void activate(long row, long column, Vector a, Vector b) {
        Number* to = inner + row * widths.inner;
        if (model.activation == 0) return store(to + column / 2, silu(a) * b);
        store(to + column, model.activation == 1 ? gelu(a) : gelu_by_tanh(a));
        store(to + column + LANES, model.activation == 1 ? gelu(b) : gelu_by_tanh(b));
    }

    // Heads of keys and values are shared out among the threads; where texts come with several tokens, all keys are
    // written before any query looks at them.
    void attention(const Layer& layer, Number* cache) {
        const Share mine = share(read.rows * model.kv_heads, thread, threads);
        for (long item = mine.first; item < mine.end; item++) {
            write(layer, cache, item / model.kv_heads, item % model.kv_heads);
            if (read.alone) look(cache, item / model.kv_heads, item % model.kv_heads);
        }
#pragma omp barrier
        if (read.alone) return;
        for (long item = mine.first; item < mine.end; item++) look(cache, item / model.kv_heads, item % model.kv_heads);
#pragma omp barrier
    }

    long place_in_cache(long part, long row, long kv_head) const {
        return ((part * read.slot_count + read.slots[row]) * model.kv_heads + kv_head) * read.capacity * model.head_width;
    }

    void write(const Layer& layer, Number* cache, long row, long kv_head) {
        const long width = model.head_width, group = model.heads / model.kv_heads, place = read.places[row];
        float* of_row = heads + row * widths.heads;
        auto norm = [&](long head) { return layer.head_norm ? layer.head_norm + head * width : nullptr; };
        for (long head = kv_head * group; head < (kv_head + 1) * group; head++)
            prepare_head(model, norm(head), place, of_row + head * width);
        float* key = of_row + (model.heads + kv_head) * width;
        prepare_head(model, norm(model.heads + kv_head), place, key);
        const float* value = of_row + (model.heads + model.kv_heads + kv_head) * width;
        for (long i = 0; i < width; i += LANES) {
            store(cache + place_in_cache(0, row, kv_head) + place * width + i, load(key + i));
            store(cache + place_in_cache(1, row, kv_head) + place * width + i, load(value + i));
        }
    }

    void look(const Number* cache, long row, long kv_head) {
        const long width = model.head_width, group = model.heads / model.kv_heads;
        for (long head = kv_head * group; head < (kv_head + 1) * group; head++)
            attend(heads + row * widths.heads + head * width, cache + place_in_cache(0, row, kv_head),
                   cache + place_in_cache(1, row, kv_head), read.places[row] + 1, width,
                   scores + thread * filled(read.capacity, LANES), mixed + row * widths.mixed + head * width);
    }
};

template <class Number>
struct Memory {  // where each buffer lies in the scratch memory, in bytes from its beginning
    long x, heads, scores, normal, copy, mixed, inner, end;  // `copy`: bytes of one thread's `normal`, where rows are few
    Memory(const Model& model, const Tokens& read, const Widths& widths, long threads) {
        x = 0;
        heads = x + filled(read.rows * model.width * sizeof(float), 64);
        scores = heads + filled(read.rows * widths.heads * sizeof(float), 64);
        normal = scores + filled(threads * filled(read.capacity, LANES) * sizeof(float), 64);
        copy = filled(read.rows * model.width * sizeof(Number), 64);
        mixed = normal + (read.rows > FEW_ROWS ? 1 : threads) * copy;
        inner = mixed + filled(read.rows * widths.mixed * sizeof(Number), 64);
        end = inner + filled(read.rows * widths.inner * sizeof(Number), 64);
    }
};

template <class Number>
int64_t run(const Model& model, const Tokens& read, float* logits, char* memory, int64_t threads) {
    const Widths widths(model);
    const Memory<Number> at(model, read, widths, threads);
    if (!memory) return at.end;
#pragma omp parallel num_threads(threads)
    {
        const long thread = omp_get_thread_num();
        char* normal = memory + at.normal + (read.rows > FEW_ROWS ? 0 : thread * at.copy);
        Pass<Number> pass{model, read, widths,
                          (float*)(memory + at.x), (float*)(memory + at.heads), (float*)(memory + at.scores), logits,
                          (Number*)normal, (Number*)(memory + at.mixed), (Number*)(memory + at.inner),
                          thread, omp_get_num_threads()};
        pass.run();
    }
    return 0;
}

}  // namespace

// Writes the wanted rows' logits (wanted, N filled up to whole panels); where `memory` is null, returns how many bytes it needs.
extern "C" int64_t read_tokens(const Model* model, const Tokens* read, float* logits, char* memory, int64_t threads) {
    return run<float>(*model, *read, logits, memory, threads);
}

#ifdef __AVX512BF16__
extern "C" int64_t read_tokens_bf16(const Model* model, const Tokens* read, float* logits, char* memory, int64_t threads) {
    return run<Bf16>(*model, *read, logits, memory, threads);
}
#endif
