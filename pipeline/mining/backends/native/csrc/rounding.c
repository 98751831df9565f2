/* What rounding costs, for vectors that share a scale or have one each. */
#include "scan.h"
#include <math.h>

static void take_largest(Rounding *rounding, Residual residual, double scale, int parts) {
    /* bfloat16: what two parts leave, and all that the first one leaves */
    double left = sqrt(residual.square), dropped = parts == 2 ? sqrt(residual.low_square) / scale : 0;
    rounding->residual = left > rounding->residual ? left : rounding->residual;
    rounding->dropped = dropped > rounding->dropped ? dropped : rounding->dropped;
}

/* Rounds vectors of k elements, `group` of them with one scale, to q (unless it is empty), and measures what that
 * costs. */
void quantise_all(const void *vectors, int64_t n, int64_t k, int half, int64_t group, double limit, double longest,
                  int bytes, int parts, int is_float, void *q, Rounding *roundings, char *room) {
    const Level *level = best_level();
    const int64_t row_bytes = k * (half ? 2 : 4);
    for (int64_t first = 0; first < n; first += group) {
        Rounding *rounding = roundings + first / group;
        int64_t last = first + group < n ? first + group : n;
        double largest = 0, size = 0;
        for (int64_t i = first; i < last; i++) {
            Extent extent = level->measure((const char *)vectors + i * row_bytes, k, half);
            largest = extent.largest > largest ? extent.largest : largest;
            size = extent.square > size ? extent.square : size;
        }
        rounding->size = sqrt(size);
        if (is_float) {
            rounding->scale = 1;
            for (int64_t i = first; i < last; i++) {
                const void *x = (const char *)vectors + i * row_bytes;
                take_largest(rounding, level->bfloat16_residual(x, k, parts, half), 1, parts);
            }
            continue;
        }
        double scale =
            largest > 1e-30 ? limit / largest : 1; /* what is smaller rounds to zero, and its residual says so */
        if (scale * rounding->size > longest) scale = longest / rounding->size;
        rounding->scale = (float)scale * (1 - 0x1p-22f); /* a float32, and none is rounded to more than the limit */
        for (int64_t i = first; i < last; i++) {
            void *to = q ? (char *)q + i * k * bytes : room;
            const void *x = (const char *)vectors + i * row_bytes;
            level->round_row(to, x, k, (float)rounding->scale, bytes, half);
            Residual residual = level->residual(to, x, k, rounding->scale, bytes, half);
            take_largest(rounding, residual, rounding->scale, parts);
        }
    }
}
