// Skip-gram and CBOW with negative sampling over a run of words, one pair after the other as word2vec learns them
// (Mikolov et al. 2013a, 2013b; subwords: Bojanowski et al. 2017). The rules stand in skipgram.py, whose PyTorch path learns
// by the same ones; this file only makes them fast.
//
// Rows of both tables are `stride` numbers long, a multiple of 16 filled up with zeros, which stay zeros.

#include <cmath>
#include <cstdint>
#include <vector>

namespace {

constexpr int64_t LOOK = 16;  // every so many-th pair tells its loss: logarithms would take a tenth of the time

struct Random {  // xorshift64* (Vigna 2016): a few instructions a draw
    uint64_t state;
    explicit Random(uint64_t seed) : state(seed * 0x9E3779B97F4A7C15ull + 0xD1B54A32D192ED03ull) {
        if (state == 0) state = 1;
        for (int i = 0; i < 4; ++i) next();
    }
    uint64_t next() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return state * 0x2545F4914F6CDD1Dull;
    }
    uint32_t below(uint32_t bound) { return uint32_t(((next() >> 32) * uint64_t(bound)) >> 32); }
    float share() { return float(next() >> 40) * (1.0f / 16777216.0f); }  // 0 ≤ share < 1
};

float dot(const float* a, const float* b, int64_t size) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < size; ++i) sum += a[i] * b[i];
    return sum;
}

void add(float* to, const float* from, float factor, int64_t size) {
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) to[i] += factor * from[i];
}

}  // namespace

extern "C" {

struct Tables {
    float* inputs;
    float* outputs;
    int64_t stride;
    int64_t vocabulary;
    const int64_t* starts;  // subwords: rows[starts[w]] … rows[starts[w + 1]] make up word w; null: row w alone
    const int32_t* rows;
    const float* keep;         // probability that an occurrence of a word is kept
    const float* probability;  // the alias table (Walker 1977) that negatives are drawn from
    const int32_t* alias;
    int64_t window;
    int64_t negatives;
    int64_t cbow;
};

// Learns from `count` words (−1 ends a text) at one learning rate; tells[0] and [1] get the sum of the losses looked at, in
// nats, and how many they are.
void learn(const Tables* tables, const int32_t* words, int64_t count, float rate, uint64_t seed, double* tells) {
    const Tables& t = *tables;
    const int64_t stride = t.stride;
    Random random(seed);
    std::vector<float> mean(stride), error(stride);
    std::vector<int32_t> kept, from;
    int64_t pairs = 0;
    double loss = 0;
    int64_t looked = 0;

    auto gather = [&](int32_t word) {
        if (t.starts == nullptr) {
            from.push_back(word);
            return;
        }
        from.insert(from.end(), t.rows + t.starts[word], t.rows + t.starts[word + 1]);
    };

    // One step: the mean of the rows `from` is to find `target` among drawn negatives.
    auto step = [&](int32_t target) {
        const float* hidden = t.inputs + from[0] * stride;
        if (from.size() > 1) {
            std::fill(mean.begin(), mean.end(), 0.0f);
            for (int32_t row : from) add(mean.data(), t.inputs + row * stride, 1.0f, stride);
            const float share = 1.0f / float(from.size());
            for (float& value : mean) value *= share;
            hidden = mean.data();
        }
        std::fill(error.begin(), error.end(), 0.0f);
        const bool look = pairs++ % LOOK == 0;
        looked += look;
        for (int64_t n = 0; n <= t.negatives; ++n) {
            int32_t word = target;
            if (n > 0) {
                const uint64_t drawn = random.next();
                word = int32_t(((drawn >> 32) * uint64_t(t.vocabulary)) >> 32);
                if (float(drawn & 0xFFFFFF) * (1.0f / 16777216.0f) >= t.probability[word]) word = t.alias[word];
                if (word == target) continue;
            }
            float* output = t.outputs + word * stride;
            const float score = dot(hidden, output, stride);
            const float gradient = (n == 0 ? 1.0f : 0.0f) - 1.0f / (1.0f + std::exp(-score));
            if (look) loss += std::log1p(std::exp(-std::fabs(score))) + (n == 0 ? std::fmax(-score, 0.0f) : std::fmax(score, 0.0f));
            const float factor = rate * gradient;
#pragma omp simd
            for (int64_t i = 0; i < stride; ++i) {
                const float before = output[i];
                error[i] += factor * before;
                output[i] = before + factor * hidden[i];
            }
        }
        for (int32_t row : from) add(t.inputs + row * stride, error.data(), 1.0f, stride);
    };

    for (int64_t begin = 0; begin < count;) {
        kept.clear();
        for (; begin < count && words[begin] >= 0; ++begin)
            if (t.keep[words[begin]] >= 1.0f || random.share() < t.keep[words[begin]]) kept.push_back(words[begin]);
        ++begin;
        const int64_t length = int64_t(kept.size());
        for (int64_t place = 0; place < length; ++place) {
            const int64_t reach = 1 + random.below(uint32_t(t.window));
            const int64_t first = place > reach ? place - reach : 0;
            const int64_t last = place + reach < length ? place + reach : length - 1;
            if (first == last) continue;
            from.clear();
            if (t.cbow) {
                for (int64_t other = first; other <= last; ++other)
                    if (other != place) gather(kept[other]);
                step(kept[place]);
            } else {
                gather(kept[place]);
                for (int64_t other = first; other <= last; ++other)
                    if (other != place) step(kept[other]);
            }
        }
    }
    tells[0] = loss;
    tells[1] = double(looked);
}
}
