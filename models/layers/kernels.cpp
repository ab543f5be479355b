// Layers of a block with their derivatives, in float32, for one thread. compiled.py says what each of them computes.
//
// PyTorch computes such a layer in some twenty passes, and every pass reads and writes all activations. Here a few rows
// at a time go through the whole layer and stay in the first caches. Matrices are stored by rows, without gaps.

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>
#include <vector>

namespace {

#ifdef __AVX512F__
constexpr int WIDTH = 16, VECTORS = 4;  // numbers in a register; registers side by side in a tile of a product
#else
constexpr int WIDTH = 8, VECTORS = 2;
#endif
constexpr int ROWS = 6;  // of a tile: its ROWS * VECTORS sums and a row of the right factor fit the registers
constexpr long TILE = WIDTH * VECTORS;
constexpr long BLOCK = 96;  // rows of the feed-forward network that are computed together
constexpr long TERMS = 128;  // of a long product that are summed together
constexpr long SCORED = 48;  // rows whose scores of all items are computed together

typedef float Floats __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

inline Floats& at(float* data) { return *reinterpret_cast<Floats*>(data); }
inline const Floats& at(const float* data) { return *reinterpret_cast<const Floats*>(data); }

// Memory whose start is that of a cache line, so that no register is loaded from two.
template <class T>
struct Aligned {
    using value_type = T;
    static constexpr std::align_val_t LINE{64};
    T* allocate(std::size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), LINE)); }
    void deallocate(T* data, std::size_t) { ::operator delete(data, LINE); }
    bool operator==(const Aligned&) const { return true; }
    bool operator!=(const Aligned&) const { return false; }
};
using Buffer = std::vector<float, Aligned<float>>;

// Combine the numbers of a register, one half with the other until one number is left.
template <class Combine>
inline float folded(Floats x, const Combine& combine) {
#ifdef __AVX512F__
    const __mmask8 all = 0xff;
    const __m256 eight = combine(_mm512_maskz_extractf32x8_ps(all, (__m512)x, 0),
                                 _mm512_maskz_extractf32x8_ps(all, (__m512)x, 1));
#else
    const __m256 eight = (__m256)x;
#endif
    const __m128 four = combine(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = combine(four, _mm_movehl_ps(four, four));
    return combine(two[0], two[1]);
}

inline float total(Floats x) {
    return folded(x, [](auto a, auto b) { return a + b; });
}

inline float largest(Floats x) {
    return folded(x, [](auto a, auto b) { return a > b ? a : b; });
}

inline long padded(long columns) { return (columns + TILE - 1) / TILE * TILE; }

// ---- matrix products ------------------------------------------------------------------------------------------------

// A left factor: element (i, k) lies at data[i * row + k * column].
struct Left {
    const float* data;
    long row, column;
};

// A right factor in panels of TILE columns, which are `panel` numbers apart, as their rows are `row` numbers.
struct Right {
    const float* data;
    long row, panel;

    // A matrix as it is stored; the number of columns must be a multiple of TILE.
    static Right plain(const float* data, long columns) { return {data, columns, TILE}; }
};

// A copy of a matrix (terms, columns), whose panels are without gaps: faster where many products need it.
struct Packed {
    long terms;
    Buffer data;

    Packed(long terms, long columns) : terms(terms), data(terms * padded(columns)) {}
    Packed(long terms, long columns, Left from) : Packed(terms, columns) { fill(columns, from); }

    // Where columns lie in memory one after the other, 4 x 4 numbers are transposed at a time.
    void fill(long columns, Left from) {
        for (long j = 0; j < columns; j += 4) {
            const float* source = from.data + j * from.column;
            float* target = data.data() + j / TILE * terms * TILE + j % TILE;
            const long count = std::min(columns - j, 4L);
            long k = 0;
            for (; from.row == 1 && count == 4 && k + 4 <= terms; k += 4) {
                __m128 part[4];
                for (int i = 0; i < 4; i++) part[i] = _mm_loadu_ps(source + k + i * from.column);
                _MM_TRANSPOSE4_PS(part[0], part[1], part[2], part[3]);
                for (int i = 0; i < 4; i++) _mm_storeu_ps(target + (k + i) * TILE, part[i]);
            }
            for (; k < terms; k++)
                for (long i = 0; i < count; i++) target[k * TILE + i] = source[k * from.row + i * from.column];
        }
    }
    Right right() const { return {data.data(), TILE, terms * TILE}; }
};

// Pass every register of a b, for M rows and TILE columns from (row, column) on, to take(row, column, sums). Not
// inlined: beside other code the sums would not all stay in registers, nor would they if the last loops were loops.
template <int M, class Take>
__attribute__((noinline)) void tile(long terms, Left a, Right b, long row, long column, const Take& take) {
    Floats sum[M][VECTORS] = {};
    for (long k = 0; k < terms; k++) {
        Floats right[VECTORS];
        for (int j = 0; j < VECTORS; j++) right[j] = at(b.data + k * b.row + j * WIDTH);
        for (int i = 0; i < M; i++) {
            const float left = a.data[i * a.row + k * a.column];
            for (int j = 0; j < VECTORS; j++) sum[i][j] += left * right[j];
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < M; i++)
#pragma GCC unroll 4
        for (int j = 0; j < VECTORS; j++) take(row + i, column + j * WIDTH, sum[i][j]);
}

// Pass every register of a b to take(row, column, sums); the number of columns must be a multiple of TILE.
template <class Take>
void product(long rows, long columns, long terms, Left a, Right b, const Take& take) {
    static constexpr decltype(&tile<1, Take>) tiles[ROWS] = {tile<1, Take>, tile<2, Take>, tile<3, Take>,
                                                             tile<4, Take>, tile<5, Take>, tile<6, Take>};
    for (long j = 0; j < columns; j += TILE)
        for (long first = 0; first < rows; first += ROWS) {
            const long count = std::min<long>(rows - first, ROWS);
            tiles[count - 1](terms, {a.data + first * a.row, a.row, a.column},
                             {b.data + j / TILE * b.panel, b.row, b.panel}, first, j, take);
        }
}

// What to do with the sums: put them into a matrix, add them to it, or put them there with a bias for each column.
auto put(float* c, long row) {
    return [=](long i, long j, const Floats& sum) { at(c + i * row + j) = sum; };
}
auto add(float* c, long row) {
    return [=](long i, long j, const Floats& sum) { at(c + i * row + j) += sum; };
}
auto put_with(const float* bias, float* c, long row) {
    return [=](long i, long j, const Floats& sum) { at(c + i * row + j) = sum + at(bias + j); };
}

// Add a b to a matrix, a few terms at a time, so that these rows of the right factor stay in the first cache.
void add_product(long rows, long columns, long terms, Left a, Right b, float* c, long row) {
    for (long k = 0; k < terms; k += TERMS)
        product(rows, columns, std::min(TERMS, terms - k), {a.data + k * a.column, a.row, a.column},
                {b.data + k * b.row, b.row, b.panel}, add(c, row));
}

void add_rows(long rows, long columns, const float* x, long row, float* sums) {
    for (long i = 0; i < rows; i++)
        for (long j = 0; j < columns; j += WIDTH) at(sums + j) += at(x + i * row + j);
}

// ---- functions of single numbers ------------------------------------------------------------------------------------

// exp(x) for x <= 0, to the last two digits of float32; 0 below the smallest normal number, NaN for NaN.
inline Floats exponential(Floats x) {
    const Ints tiny = x < -87.0f;
    x = tiny ? Floats{} : x;
    const Floats rounder = Floats{} + 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to a whole number
    const Floats shifted = x * 1.44269504f + rounder, n = shifted - rounder;
    const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // x = n log 2 + r
    // Cephes' polynomial for exp on [-log(2) / 2, log(2) / 2].
    Floats p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const Ints power = ((Ints)shifted << 23) + 0x3f800000;  // 2^n: the last bits of `shifted` are n
    return tiny ? Floats{} : p * (Floats)power;
}

// 1 / x for finite x > 0, to the last digit or two of float32: an approximation and a step of Newton's method.
inline Floats reciprocal(Floats x) {
#ifdef __AVX512F__
    const Floats near = (Floats)_mm512_maskz_rcp14_ps(0xffff, (__m512)x);
#else
    const Floats near = (Floats)_mm256_rcp_ps((__m256)x);
#endif
    return near * (2.0f - x * near);
}

// The normal distribution function and density at x, to 1e-7 (Abramowitz and Stegun, 1964, 7.1.26).
inline void normal_distribution(Floats x, Floats& distribution, Floats& density) {
    const Floats e = exponential(x * x * -0.5f), size = x < 0.0f ? -x : x;
    const Floats t = reciprocal((size < 32.0f ? size : Floats{} + 32.0f) * (0.3275911f * 0.70710678f) + 1.0f);
    Floats p = 1.061405429f * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const Floats tail = p * t * e * 0.5f;
    distribution = x < 0.0f ? tail : 1.0f - tail;
    density = e * 0.39894228f;
}

// Turn a row of scores into probabilities, and what fills its last register into 0; return the largest score, and the
// sum of all exp(score - largest).
std::pair<float, float> softmax(long keys, float* row) {
    const long width = (keys + WIDTH - 1) / WIDTH * WIDTH;
    std::fill(row + keys, row + width, -INFINITY);
    Floats most = at(row), sum{};
    for (long j = WIDTH; j < width; j += WIDTH) most = at(row + j) > most ? at(row + j) : most;
    const float top = largest(most);
    for (long j = 0; j < width; j += WIDTH) sum += at(row + j) = exponential(at(row + j) - top);
    const float all = total(sum), scale = 1 / all;
    for (long j = 0; j < width; j += WIDTH) at(row + j) *= scale;
    return {top, all};
}

// ---- the end of a layer ---------------------------------------------------------------------------------------------

inline const float* after(const float* data, long offset) { return data ? data + offset : nullptr; }

// The factors of dropout: numbers, or 0 and 2 as bits of random words; neither for no dropout. Factor n is bit 30, the
// only one that is set in 2, of word n % count shifted by n / count (models/layers/dropout.py).
struct Mask {
    const float* numbers;
    const int32_t* words;
    long count, start;

    explicit operator bool() const { return numbers || words; }
    Mask after(long offset) const { return {::after(numbers, offset), words, count, start + offset}; }

    // The factors from `first` on, as numbers; `room` is for those that are bits.
    const float* at(long first, long length, float* room) const {
        if (numbers) return numbers + first;
        int32_t* bits = reinterpret_cast<int32_t*>(room);
        long shift = (start + first) / count, word = (start + first) % count;
        for (long done = 0; done < length; shift++, word = 0) {
            const long run = std::min(length - done, count - word);
            for (long i = 0; i < run; i++) bits[done + i] = int32_t(uint32_t(words[word + i]) << shift) & 0x40000000;
            done += run;
        }
        return room;
    }
};

// output = LayerNorm(x + mask * y) + plus; the derivative needs the normalised rows, and 1 / their deviation.
struct End {
    long size;
    const float *weight, *bias;
    float eps;

    void finish(long rows, const float* y, const float* x, const Mask& mask, float* output, float* normal, float* rstd,
                const float* plus = nullptr) const {
        Buffer room(size);
        for (long i = 0; i < rows; i++) {
            const long row = i * size;
            const float* factor = mask ? mask.at(row, size, room.data()) : nullptr;
            Floats sum{}, squares{};
            for (long j = 0; j < size; j += WIDTH) {
                const Floats added = factor ? at(factor + j) * at(y + row + j) : at(y + row + j);
                at(normal + row + j) = at(x + row + j) + added;
                sum += at(normal + row + j);
            }
            const float mean = total(sum) / size;
            for (long j = row; j < row + size; j += WIDTH) {
                at(normal + j) -= mean;
                squares += at(normal + j) * at(normal + j);
            }
            rstd[i] = 1 / std::sqrt(total(squares) / size + eps);
            for (long j = 0; j < size; j += WIDTH) {
                at(normal + row + j) *= rstd[i];
                at(output + row + j) = at(normal + row + j) * at(weight + j) + at(bias + j);
                if (plus) at(output + row + j) += at(plus + row + j);
            }
        }
    }

    // The derivatives by x + mask * y and by y; sums over rows are added to those of weight and bias.
    void unfinish(long rows, const float* grad, const float* normal, const float* rstd, const Mask& mask,
                  float* grad_total, float* grad_y, float* grad_weight, float* grad_bias) const {
        Buffer room(size);
        for (long i = 0; i < rows; i++) {
            const long row = i * size;
            const float* factor = mask ? mask.at(row, size, room.data()) : nullptr;
            Floats sum{}, along{};
            for (long j = 0; j < size; j += WIDTH) {
                const Floats g = at(grad + row + j), scaled = g * at(weight + j);
                at(grad_weight + j) += g * at(normal + row + j);
                at(grad_bias + j) += g;
                sum += scaled;
                along += scaled * at(normal + row + j);
            }
            const float mean = total(sum) / size, slope = total(along) / size;
            for (long j = 0; j < size; j += WIDTH) {
                const long cell = row + j;
                at(grad_total + cell) = (at(grad + cell) * at(weight + j) - mean - at(normal + cell) * slope) * rstd[i];
                at(grad_y + cell) = factor ? at(grad_total + cell) * at(factor + j) : at(grad_total + cell);
            }
        }
    }
};

}  // namespace

extern "C" {

long tile_columns() { return TILE; }

// ---- the feed-forward network ---------------------------------------------------------------------------------------

void feed_forward(long rows, long size, long inner, const float* x, const float* w1, const float* b1, const float* w2,
                  const float* b2, const float* weight, const float* bias, float eps, Mask mask, float* output,
                  float* normal, float* rstd) {
    const End end{size, weight, bias, eps};
    const Packed up(size, inner, {w1, 1, size}), down(inner, size, {w2, 1, inner});
    Buffer activated(BLOCK * inner), y(BLOCK * size);
    for (long first = 0; first < rows; first += BLOCK) {
        const long count = std::min(BLOCK, rows - first), cell = first * size;
        product(count, inner, size, {x + cell, size, 1}, up.right(), [&](long i, long j, const Floats& sum) {
            const Floats hidden = sum + at(b1 + j);
            Floats distribution, density;
            normal_distribution(hidden, distribution, density);
            at(activated.data() + i * inner + j) = hidden * distribution;
        });
        for (long i = 0; i < count; i++) std::copy_n(b2, size, y.data() + i * size);
        add_product(count, size, inner, {activated.data(), inner, 1}, down.right(), y.data(), size);
        end.finish(count, y.data(), x + cell, mask.after(cell), output + cell, normal + cell, rstd + first);
    }
}

void feed_forward_backward(long rows, long size, long inner, const float* grad, const float* x, const float* w1,
                           const float* b1, const float* w2, const float* weight, Mask mask,
                           const float* normal, const float* rstd, bool learns, float* grad_x, float* grad_w1,
                           float* grad_b1, float* grad_w2_transposed, float* grad_b2, float* grad_weight,
                           float* grad_bias) {
    const End end{size, weight, nullptr, 0};
    const long wide = inner + WIDTH;  // rows a power of two apart would push each other out of the first cache
    const Packed up(size, inner, {w1, 1, size}), outward(size, inner, {w2, inner, 1});
    const Packed inward(inner, size, {w1, size, 1});
    Buffer grad_y(BLOCK * size), grad_hidden(BLOCK * wide), activated(BLOCK * wide);
    for (long first = 0; first < rows; first += BLOCK) {
        const long count = std::min(BLOCK, rows - first), cell = first * size;
        end.unfinish(count, grad + cell, normal + cell, rstd + first, mask.after(cell), grad_x + cell, grad_y.data(),
                     grad_weight, grad_bias);
        product(count, inner, size, {x + cell, size, 1}, up.right(), [&](long i, long j, const Floats& sum) {
            const Floats hidden = sum + at(b1 + j);
            Floats distribution, density;
            normal_distribution(hidden, distribution, density);
            at(activated.data() + i * wide + j) = hidden * distribution;
            at(grad_hidden.data() + i * wide + j) = distribution + hidden * density;
        });
        product(count, inner, size, {grad_y.data(), size, 1}, outward.right(), [&](long i, long j, const Floats& sum) {
            at(grad_hidden.data() + i * wide + j) *= sum;
        });
        add_product(count, size, inner, {grad_hidden.data(), wide, 1}, inward.right(), grad_x + cell, size);
        if (!learns) continue;
        product(inner, size, count, {grad_hidden.data(), 1, wide}, Right::plain(x + cell, size), add(grad_w1, size));
        product(inner, size, count, {activated.data(), 1, wide}, Right::plain(grad_y.data(), size),
                add(grad_w2_transposed, size));
        add_rows(count, inner, grad_hidden.data(), wide, grad_b1);
        add_rows(count, size, grad_y.data(), size, grad_b2);
    }
}

// ---- attention ------------------------------------------------------------------------------------------------------

// Each head has merged weights (2 size, size), so that a row is projected to a query and a value of the full size for
// each head, and is itself the key of all heads: the output is the sum of the heads' weighted sums of values.
void attention(long sequences, const int64_t* lengths, long longest, long heads, long size, const float* x,
               const float* w, const float* b, const float* b_out, const float* key_mask, const float* query_mask,
               Mask probability_mask, float scale, const float* weight, const float* bias, float eps, Mask output_mask,
               float* output, float* projected, float* probabilities, float* normal, float* rstd) {
    const End end{size, weight, bias, eps};
    const long width = padded(longest), wide = heads * 2 * size, cells = longest * longest;
    const Packed project(size, wide, {w, 1, size});
    Packed keys(size, longest);
    Buffer scores(longest * width), y(longest * size), room(longest);
    for (long sequence = 0; sequence < sequences; sequence++) {
        const long rows = lengths[sequence], skip = longest - rows;  // a shorter sequence is at the end of its window
        product(rows, wide, size, {x, size, 1}, project.right(), put_with(b, projected, wide));
        keys.fill(rows, {x, 1, size});
        for (long head = 0; head < heads; head++) {
            const float* query = projected + head * 2 * size;
            product(rows, padded(rows), size, {query, wide, 1}, keys.right(), put(scores.data(), width));
            for (long i = 0; i < rows; i++) {
                const long cell = (skip + i) * longest + skip;
                float* row = scores.data() + i * width;
                for (long j = 0; j < rows; j++)
                    row[j] = row[j] * scale + std::min(key_mask[skip + j], query_mask[cell + j]);
                softmax(rows, row);
                std::copy(row, row + rows, probabilities + cell);
                if (!probability_mask) continue;
                const float* factor = probability_mask.at(cell, rows, room.data());
                for (long j = 0; j < rows; j++) row[j] *= factor[j];
            }
            const Right values{query + size, wide, TILE};
            if (head == 0)
                product(rows, size, rows, {scores.data(), width, 1}, values, put_with(b_out, y.data(), size));
            else
                product(rows, size, rows, {scores.data(), width, 1}, values, add(y.data(), size));
            probabilities += cells, probability_mask = probability_mask.after(cells);
        }
        end.finish(rows, y.data(), x, output_mask, output, normal, rstd);
        x += rows * size, output += rows * size, normal += rows * size, projected += rows * wide, rstd += rows;
        key_mask += longest, output_mask = output_mask.after(rows * size);
    }
}

void attention_backward(long sequences, const int64_t* lengths, long longest, long heads, long size, const float* grad,
                        const float* x, const float* w, Mask probability_mask, float scale,
                        const float* weight, Mask output_mask, const float* projected,
                        const float* probabilities, const float* normal, const float* rstd, bool learns, float* grad_x,
                        float* grad_w, float* grad_b, float* grad_b_out, float* grad_weight, float* grad_bias) {
    const End end{size, weight, nullptr, 0};
    const long width = padded(longest), wide = heads * 2 * size, cells = longest * longest;
    const Packed unproject(wide, size, {w, size, 1});
    Packed values(size, longest);
    Buffer grad_scores(longest * width), dropped(longest * width), room(longest);
    Buffer grad_y(longest * size), grad_projected(longest * wide);
    for (long sequence = 0; sequence < sequences; sequence++) {
        const long rows = lengths[sequence], skip = longest - rows;
        end.unfinish(rows, grad, normal, rstd, output_mask, grad_x, grad_y.data(), grad_weight, grad_bias);
        for (long head = 0; head < heads; head++) {
            const float* query = projected + head * 2 * size;
            float* grad_query = grad_projected.data() + head * 2 * size;
            values.fill(rows, {query + size, 1, wide});
            product(rows, padded(rows), size, {grad_y.data(), size, 1}, values.right(), put(grad_scores.data(), width));
            for (long i = 0; i < rows; i++) {
                const long cell = (skip + i) * longest + skip;
                const float* probability = probabilities + cell;
                const float* factor = probability_mask ? probability_mask.at(cell, rows, room.data()) : nullptr;
                float *row = grad_scores.data() + i * width, *weights = dropped.data() + i * width;
                for (long j = 0; j < rows; j++) {
                    weights[j] = factor ? probability[j] * factor[j] : probability[j];
                    row[j] *= weights[j];
                }
                std::fill(row + rows, row + width, 0.0f);
                Floats sums{};
                for (long j = 0; j < width; j += WIDTH) sums += at(row + j);
                const float sum = total(sums);
                for (long j = 0; j < rows; j++) row[j] = (row[j] - probability[j] * sum) * scale;
            }
            product(rows, size, rows, {grad_scores.data(), width, 1}, Right::plain(x, size), put(grad_query, wide));
            product(rows, size, rows, {dropped.data(), 1, width}, Right::plain(grad_y.data(), size),
                    put(grad_query + size, wide));
            product(rows, size, rows, {grad_scores.data(), 1, width}, Right{query, wide, TILE}, add(grad_x, size));
            probabilities += cells, probability_mask = probability_mask.after(cells);
        }
        product(rows, size, wide, {grad_projected.data(), wide, 1}, unproject.right(), add(grad_x, size));
        if (learns) {
            product(wide, size, rows, {grad_projected.data(), 1, wide}, Right::plain(x, size), add(grad_w, size));
            add_rows(rows, wide, grad_projected.data(), wide, grad_b);
            add_rows(rows, size, grad_y.data(), size, grad_b_out);
        }
        grad += rows * size, grad_x += rows * size, x += rows * size, normal += rows * size, rstd += rows;
        projected += rows * wide, output_mask = output_mask.after(rows * size);
    }
}

// ---- the frequency layer --------------------------------------------------------------------------------------------

// LFC + beta HFC = beta x + (1 - beta) LFC at the last `count` positions; LFC = synthesis (basis^T x), rest = 1 - beta.
void frequency(long sequences, long length, long count, long size, long modes, const float* x, const float* basis,
               const float* synthesis, const float* beta, const float* rest, const float* weight, const float* bias,
               float eps, Mask mask, const float* plus, float* output, float* coefficients, float* normal,
               float* rstd) {
    const End end{size, weight, bias, eps};
    Buffer scaled(modes * size), y(count * size);
    for (long sequence = 0; sequence < sequences; sequence++) {
        const float* last = x + (length - count) * size;
        product(modes, size, length, {basis, 1, modes}, Right::plain(x, size), put(coefficients, size));
        for (long k = 0; k < modes; k++)
            for (long j = 0; j < size; j += WIDTH)
                at(scaled.data() + k * size + j) = at(coefficients + k * size + j) * at(rest + j);
        product(count, size, modes, {synthesis, modes, 1}, Right::plain(scaled.data(), size),
                [&](long i, long j, const Floats& low) {
                    at(y.data() + i * size + j) = low + at(last + i * size + j) * at(beta + j);
                });
        end.finish(count, y.data(), last, mask, output, normal, rstd, plus);
        x += length * size, output += count * size, normal += count * size, coefficients += modes * size;
        rstd += count, mask = mask.after(count * size), plus = after(plus, count * size);
    }
}

void frequency_backward(long sequences, long length, long count, long size, long modes, const float* grad,
                        const float* x, const float* basis, const float* synthesis, const float* beta,
                        const float* rest, const float* weight, Mask mask, const float* coefficients,
                        const float* normal, const float* rstd, float* grad_x, float* grad_beta, float* grad_weight,
                        float* grad_bias) {
    const End end{size, weight, nullptr, 0};
    Buffer grad_y(count * size), grad_modes(modes * size);
    for (long sequence = 0; sequence < sequences; sequence++) {
        const long before = (length - count) * size;
        std::fill(grad_x, grad_x + before, 0.0f);
        end.unfinish(count, grad, normal, rstd, mask, grad_x + before, grad_y.data(), grad_weight, grad_bias);
        product(modes, size, count, {synthesis, 1, modes}, Right::plain(grad_y.data(), size),
                put(grad_modes.data(), size));
        for (long i = 0; i < count; i++)
            for (long j = 0; j < size; j += WIDTH) {
                const long cell = i * size + j;
                at(grad_beta + j) += at(grad_y.data() + cell) * at(x + before + cell);
                at(grad_x + before + cell) += at(grad_y.data() + cell) * at(beta + j);
            }
        for (long k = 0; k < modes; k++)
            for (long j = 0; j < size; j += WIDTH) {
                const long cell = k * size + j;
                at(grad_beta + j) -= at(grad_modes.data() + cell) * at(coefficients + cell);
                at(grad_modes.data() + cell) *= at(rest + j);
            }
        product(length, size, modes, {basis, modes, 1}, Right::plain(grad_modes.data(), size), add(grad_x, size));
        grad += count * size, grad_x += length * size, x += length * size, normal += count * size, rstd += count;
        coefficients += modes * size, mask = mask.after(count * size);
    }
}

// ---- the ends of an encoder -----------------------------------------------------------------------------------------

// output = mask * LayerNorm(item + position) for rows of both tables; positions may be null.
void embed(long rows, long size, const int64_t* item, const int64_t* position, const float* items,
           const float* positions, const float* weight, const float* bias, float eps, Mask mask, float* output,
           float* normal, float* rstd) {
    const End end{size, weight, bias, eps};
    Buffer what(BLOCK * size), where(BLOCK * size), room(size);
    for (long first = 0; first < rows; first += BLOCK) {
        const long count = std::min(BLOCK, rows - first), cell = first * size;
        for (long i = 0; i < count; i++) {
            std::copy_n(items + item[first + i] * size, size, what.data() + i * size);
            if (positions) std::copy_n(positions + position[first + i] * size, size, where.data() + i * size);
        }
        end.finish(count, where.data(), what.data(), {}, output + cell, normal + cell, rstd + first);
        for (long i = first; mask && i < first + count; i++) {
            const float* factor = mask.at(i * size, size, room.data());
            for (long j = 0; j < size; j += WIDTH) at(output + i * size + j) *= at(factor + j);
        }
    }
}

// Item 0 is padding, whose row does not learn.
void embed_backward(long rows, long size, const float* grad, const int64_t* item, const int64_t* position,
                    const float* weight, Mask mask, const float* normal, const float* rstd, float* grad_items,
                    float* grad_positions, float* grad_weight, float* grad_bias) {
    const End end{size, weight, nullptr, 0};
    Buffer masked(BLOCK * size), sums(BLOCK * size), unused(BLOCK * size), room(size);
    for (long first = 0; first < rows; first += BLOCK) {
        const long count = std::min(BLOCK, rows - first), cell = first * size;
        std::copy_n(grad + cell, count * size, masked.data());
        for (long i = 0; mask && i < count; i++) {
            const float* factor = mask.at((first + i) * size, size, room.data());
            for (long j = 0; j < size; j += WIDTH) at(masked.data() + i * size + j) *= at(factor + j);
        }
        end.unfinish(count, masked.data(), normal + cell, rstd + first, {}, sums.data(), unused.data(), grad_weight,
                     grad_bias);
        for (long i = 0; i < count; i++) {
            const float* sum = sums.data() + i * size;
            if (item[first + i]) add_rows(1, size, sum, size, grad_items + item[first + i] * size);
            if (grad_positions) add_rows(1, size, sum, size, grad_positions + position[first + i] * size);
        }
    }
}

// One query per head, of a sequence whose positions are keys and values; mask (length,) is for all heads.
void attend_one(long sequences, long heads, long length, long size, const float* x, const float* query,
                const float* mask, Mask probability_mask, float scale, float* mixed, float* weight,
                float* probabilities) {
    Buffer row(padded(length)), room(length);
    for (long sequence = 0; sequence < sequences; sequence++, x += length * size, mask += length)
        for (long head = 0; head < heads; head++) {
            for (long n = 0; n < length; n++) {
                Floats score{};
                for (long j = 0; j < size; j += WIDTH) score += at(x + n * size + j) * at(query + j);
                row[n] = total(score) * scale + mask[n];
            }
            softmax(length, row.data());
            std::copy(row.data(), row.data() + length, probabilities);
            std::fill(mixed, mixed + size, 0.0f);
            *weight = 0;
            const float* factor = probability_mask ? probability_mask.at(0, length, room.data()) : nullptr;
            for (long n = 0; n < length; n++) {
                const float share = factor ? row[n] * factor[n] : row[n];
                *weight += share;
                for (long j = 0; j < size; j += WIDTH) at(mixed + j) += share * at(x + n * size + j);
            }
            query += size, mixed += size, weight++, probabilities += length;
            probability_mask = probability_mask.after(length);
        }
}

void attend_one_backward(long sequences, long heads, long length, long size, const float* grad_mixed,
                         const float* grad_weight, const float* x, const float* query, Mask probability_mask,
                         float scale, const float* probabilities, float* grad_x, float* grad_query) {
    Buffer weighted(length), room(length);
    for (long sequence = 0; sequence < sequences; sequence++, x += length * size, grad_x += length * size)
        for (long head = 0; head < heads; head++) {
            const float* factor = probability_mask ? probability_mask.at(0, length, room.data()) : nullptr;
            float sum = 0;
            for (long n = 0; n < length; n++) {
                Floats along{};
                for (long j = 0; j < size; j += WIDTH) along += at(grad_mixed + j) * at(x + n * size + j);
                const float share = factor ? probabilities[n] * factor[n] : probabilities[n];
                weighted[n] = (total(along) + *grad_weight) * share;
                sum += weighted[n];
            }
            std::fill(grad_query, grad_query + size, 0.0f);
            for (long n = 0; n < length; n++) {
                const float grad_score = (weighted[n] - probabilities[n] * sum) * scale;
                const float share = factor ? probabilities[n] * factor[n] : probabilities[n];
                for (long j = 0; j < size; j += WIDTH) {
                    const Floats part = grad_score * at(query + j) + share * at(grad_mixed + j);
                    at(grad_x + n * size + j) = head ? at(grad_x + n * size + j) + part : part;
                    at(grad_query + j) += grad_score * at(x + n * size + j);
                }
            }
            query += size, grad_query += size, grad_mixed += size, grad_weight++, probabilities += length;
            probability_mask = probability_mask.after(length);
        }
}

// ---- cross-entropy --------------------------------------------------------------------------------------------------

// The loss of each row, and the gradients of their mean by the rows and (added) by the items, without a matrix of all
// scores: some rows at a time have theirs.
void cross_entropy(long rows, long count, long size, const float* output, const float* items, const int64_t* target,
                   float* loss, float* grad_output, float* grad_items) {
    const Packed table(size, count, {items, 1, size});
    const long width = padded(count);
    Buffer scores(std::min(SCORED, rows) * width);
    for (long first = 0; first < rows; first += SCORED) {
        const long block = std::min(SCORED, rows - first), cell = first * size;
        product(block, width, size, {output + cell, size, 1}, table.right(), put(scores.data(), width));
        for (long i = 0; i < block; i++) {
            float* row = scores.data() + i * width;
            const float own = row[target[first + i]];
            const auto [top, all] = softmax(count, row);
            loss[first + i] = top + std::log(all) - own;
            row[target[first + i]] -= 1;
            for (long j = 0; j < width; j += WIDTH) at(row + j) /= float(rows);
        }
        std::fill(grad_output + cell, grad_output + cell + block * size, 0.0f);
        for (long item = 0; item < count; item += BLOCK)  // a few items at a time stay in the cache
            product(block, size, std::min(BLOCK, count - item), {scores.data() + item, width, 1},
                    Right::plain(items + item * size, size), add(grad_output + cell, size));
        product(count, size, block, {scores.data(), 1, width}, Right::plain(output + cell, size),
                add(grad_items, size));
    }
}

// ---- dropout --------------------------------------------------------------------------------------------------------

// Cut `shifts` masks of 0 and 2 from random words: bit 30 of a word, shifted, is the only bit that is set in 2.
void coins(long words, long shifts, const int32_t* word, int32_t* out) {
    for (long shift = 0; shift < shifts; shift++)
        for (long i = 0; i < words; i++) out[shift * words + i] = int32_t(uint32_t(word[i]) << shift) & 0x40000000;
}

}  // extern "C"
