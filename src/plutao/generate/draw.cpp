// The draw of one token for each of R rows (sampling.py says what it is): the tokens are sorted from the most probable on,
// but only as far as the walk goes. PyTorch's sort of a whole vocabulary takes longer than the model's step before it.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

struct Token {
    float probability;
    int32_t number;
};

// The tokens of a row from the most probable on, equals in the order of their numbers, with the sum up to each of them.
class Order {
  public:
    Order(const float* probabilities, int64_t count) : row(probabilities), count(count), sizes(BUCKETS, 0) {
        for (int64_t i = 0; i < count; i++) sizes[bucket(row[i])]++;
    }
    Token token(int64_t place) { return reach(place), tokens[place]; }
    double sum(int64_t place) { return reach(place), sums[place]; }

  private:
    static constexpr int BUCKETS = 4096, FIRST = 128;
    const float* row;
    const int64_t count;
    std::vector<int32_t> sizes;       // how many tokens have probabilities of each bucket
    std::vector<Token> tokens;        // sorted
    std::vector<double> sums;
    int lowest = BUCKETS;             // every token of this bucket or a higher one is sorted

    // Exponent and three more bits: larger numbers never have a smaller one.
    static int bucket(float probability) {
        uint32_t bits;
        std::memcpy(&bits, &probability, sizeof bits);
        return bits >> 20 & (BUCKETS - 1);
    }

    void reach(int64_t place) {
        while (place >= (int64_t)tokens.size()) extend(std::max<int64_t>(FIRST, 4 * tokens.size()));
    }

    // Sorts on until there are `wanted` tokens, or all.
    void extend(int64_t wanted) {
        const int end = lowest;
        const size_t begin = tokens.size();
        int64_t found = begin;
        while (lowest > 0 && found < wanted) found += sizes[--lowest];
        for (int64_t i = 0; i < count; i++) {
            const int its = bucket(row[i]);
            if (its >= lowest && its < end) tokens.push_back({row[i], (int32_t)i});
        }
        std::sort(tokens.begin() + begin, tokens.end(), [](const Token& a, const Token& b) {
            return a.probability > b.probability || (a.probability == b.probability && a.number < b.number);
        });
        for (size_t i = begin; i < tokens.size(); i++) sums.push_back((i ? sums[i - 1] : 0.0) + tokens[i].probability);
    }
};

// How many of the most probable tokens truncation leaves: sampling.py, kept_tokens.
int64_t kept(Order& order, int64_t count, int64_t top_k, float top_p, float min_p) {
    int64_t left = std::min(top_k, count);
    if (top_p < 1) {
        const double bound = (double)top_p * (left < count ? order.sum(left - 1) : 1.0);
        int64_t nucleus = 0;
        while (nucleus < left && order.sum(nucleus) < bound) nucleus++;
        left = std::min(left, nucleus + 1);
    }
    if (min_p > 0) {
        const float bound = min_p * order.token(0).probability;
        int64_t probable = 0;
        while (probable < left && order.token(probable).probability >= bound) probable++;
        left = probable;
    }
    return std::max<int64_t>(left, 1);
}

}  // namespace

extern "C" void draw(const float* probabilities, int64_t rows, int64_t count, const int64_t* top_k, const float* top_p,
                     const float* min_p, const double* r, int64_t* chosen, int64_t threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; row++) {
        Order order(probabilities + row * count, count);
        const int64_t left = kept(order, count, top_k[row], top_p[row], min_p[row]);
        const double bound = r[row] * (left == count ? 1.0 : order.sum(left - 1));
        int64_t place = 0;
        while (place < left - 1 && order.sum(place) <= bound) place++;
        chosen[row] = order.token(place).number;
    }
}
