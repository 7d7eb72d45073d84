"""Compiled loops over runs of a tensor's entries: the only place, with the edits, that needs numba.

Each takes flat arrays, writes into the last ones, holds no lock and remembers nothing, so that
threads may run them side by side. Floats are treated as their bits where counting or rounding
wants it: for magnitudes, the order of bits is the order of numbers.
"""

import hashlib
from pathlib import Path

import numba
import numpy as np

# numba's cache sees a change of the file that a loop stands in, not of a loop that it calls.
_VERSION = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
if not numba.config.CACHE_DIR:
    numba.config.CACHE_DIR = str(Path(__file__).parent / "__pycache__" / f"loops-{_VERSION}")

compiled = numba.njit(nogil=True, cache=True, error_model="numpy")
# For sums whose order may follow the processor: several at a time, NaN and infinity kept.
summing = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract"})

SIGN = np.uint32(0x80000000)
MAGNITUDE = np.uint32(0x7FFFFFFF)
NO_KEY = np.uint32(0xFFFFFFFF)  # no magnitude has these bits
LANES = 8
TILE = 2048  # entries that stay in the processor's nearest cache


@compiled
def uniform(key, index):
    """Return draw `index` of the stream `key`: uniform in [0, 1), a multiple of 2^-24.

    The finaliser of splitmix64 (Steele et al. 2014) of a counter: any draw costs the same, so the
    chunks of a tensor can be edited in any order.
    """
    z = key + np.uint64(index) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float32(z >> np.uint64(40)) * np.float32(2.0**-24)


@compiled
def uniforms(key, start, out):
    """Fill `out` with the draws from `start` on."""
    for i in range(out.size):
        out[i] = uniform(key, start + i)


# --- bfloat16 -------------------------------------------------------------------------------------


@compiled
def _widen(bits):
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@compiled
def _narrow(number):
    """Return the bits of the nearest bfloat16, ties to even; NaN stays NaN."""
    bits = np.float32(number).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = np.uint32((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))
    is_number = (bits & MAGNITUDE) <= np.uint32(0x7F800000)
    return rounded if is_number else np.uint32(0x7FC0)


@compiled
def widen_bfloat16(bits, out):
    """Convert bfloat16 (as uint16) to float32, exactly."""
    for i in range(bits.size):
        out[i] = _widen(bits[i])


@compiled
def subtract_bfloat16(base, post, out):
    """Write post - base, two bfloat16 tensors (as uint16), in float32."""
    for i in range(base.size):
        out[i] = _widen(post[i]) - _widen(base[i])


@compiled
def add_bfloat16(base, post, delta, edited, out):
    """Write base + edited in bfloat16, rounded once: post where unchanged, base where zero."""
    for i in range(base.size):
        changed = _narrow(_widen(base[i]) + edited[i])
        changed = np.uint32(base[i]) if edited[i] == np.float32(0) else changed
        changed = np.uint32(post[i]) if edited[i] == delta[i] else changed
        out[i] = np.uint16(changed)


@compiled
def add_float32(base, post, delta, edited, out):
    """Write base + edited in float32: post where unchanged, base where zero."""
    for i in range(base.size):
        changed = base[i] if edited[i] == np.float32(0) else base[i] + edited[i]
        out[i] = post[i] if edited[i] == delta[i] else changed


# --- counting -------------------------------------------------------------------------------------


@compiled
def add_magnitudes(delta, start, lanes):
    """Add magnitudes to `lanes` in float64: entry i of the tensor to lane i mod LANES.

    Every lane adds in the order of the tensor, wherever it is cut into chunks.
    """
    head = min(delta.size, -start % LANES)
    for i in range(head):
        lanes[(start + i) % LANES] += abs(np.float64(delta[i]))
    a, b, c, d, e, f, g, h = lanes
    whole = head + (delta.size - head) // LANES * LANES
    for i in range(head, whole, LANES):
        a += abs(np.float64(delta[i]))
        b += abs(np.float64(delta[i + 1]))
        c += abs(np.float64(delta[i + 2]))
        d += abs(np.float64(delta[i + 3]))
        e += abs(np.float64(delta[i + 4]))
        f += abs(np.float64(delta[i + 5]))
        g += abs(np.float64(delta[i + 6]))
        h += abs(np.float64(delta[i + 7]))
    lanes[:] = (a, b, c, d, e, f, g, h)
    for i in range(whole, delta.size):
        lanes[i - whole] += abs(np.float64(delta[i]))


@compiled
def tally(bits, keys, counts, room):
    """Count each magnitude in a hash table; return the entries read and the room left.

    Args:
        bits: float32 as uint32.
        keys: magnitudes seen, NO_KEY where free; a power of two of them.
        counts: how often each was seen.
        room: how many new magnitudes may still be added; reading stops when there is none.
    """
    last = np.uint32(keys.size - 1)
    for i in range(bits.size):
        magnitude = np.uint32(bits[i] & MAGNITUDE)
        spread = np.uint64(magnitude) * np.uint64(0x9E3779B97F4A7C15)
        at = np.uint32(spread >> np.uint64(40)) & last
        while keys[at] != magnitude:
            if keys[at] == NO_KEY:
                if room == 0:
                    return i, room
                keys[at] = magnitude
                room -= 1
                break
            at = np.uint32(at + np.uint32(1)) & last
        counts[at] += 1
    return bits.size, room


@compiled
def count_bins(bits, bins):
    """Count magnitudes by their upper 15 bits and add up the lower 16, packed in one number.

    `bins[b]` grows by 2^40 per entry, plus the lower bits: at most 2^23 entries before it is read.
    """
    for i in range(bits.size):
        magnitude = bits[i] & MAGNITUDE
        bins[magnitude >> np.uint32(16)] += (np.uint64(1) << np.uint64(40)) | np.uint64(
            magnitude & np.uint32(0xFFFF)
        )


@compiled
def count_within(bits, slots, fine, buffer):
    """Count the lower 16 bits of the magnitudes in chosen bins.

    Args:
        bits: float32 as uint32.
        slots: row of `fine` for each of the 2^15 bins, -1 for a bin that was not chosen.
        fine: counts, one row of 2^16 per chosen bin.
        buffer: room for one more than `bits`.
    """
    found = 0
    for i in range(bits.size):  # no branch that could be guessed wrongly
        magnitude = np.uint32(bits[i] & MAGNITUDE)
        buffer[found] = magnitude
        found += slots[magnitude >> np.uint32(16)] >= 0
    for i in range(found):
        fine[slots[buffer[i] >> np.uint32(16)], buffer[i] & np.uint32(0xFFFF)] += 1


@compiled
def find_equal(bits, thresholds, left, places):
    """Count the entries equal to each threshold down from `left`, and find where that ends.

    Args:
        bits: float32 as uint32.
        thresholds: magnitudes (bits).
        left: for each, how many entries are still to be found; reduced by those found.
        places: for each, the place after the entry that was the last to be found, or -1.
    """
    for j in range(thresholds.size):
        places[j] = -1
    for at in range(0, bits.size, TILE):
        run = bits[at : at + TILE]
        for j in range(thresholds.size):
            if left[j] == 0:
                continue
            threshold, found = thresholds[j], 0
            for i in range(run.size):
                found += (run[i] & MAGNITUDE) == threshold
            if found < left[j]:
                left[j] -= found
                continue
            i = 0
            while left[j] > 0:
                left[j] -= (run[i] & MAGNITUDE) == threshold
                i += 1
            places[j] = at + i


# --- dot products ---------------------------------------------------------------------------------


@summing
def add_products(rows, products):
    """Add the dot product of each two rows to `products`, below and on the diagonal, in float64.

    A product of two float32 is exact in float64. Tile after tile is added, so that cutting rows at
    multiples of TILE changes no bit; the order within a tile is the processor's.

    Args:
        rows: float32, one row per vector.
        products: float64, square.
    """
    for at in range(0, rows.shape[1], TILE):
        for i in range(rows.shape[0]):
            for j in range(i + 1):
                products[i, j] += _product(rows[i, at : at + TILE], rows[j, at : at + TILE])


@summing
def _product(one, other):
    total = 0.0
    for i in range(one.size):
        total += np.float64(one[i]) * np.float64(other[i])
    return total


# --- edits that several methods share -------------------------------------------------------------


@compiled
def set_levels(bits, edges, levels, out):
    """Replace each magnitude by the level of its block and keep its sign.

    Args:
        bits: float32 as uint32.
        edges: ascending magnitudes (bits); block j holds those below edge j, and not below j - 1.
        levels: one per block (bits of floats that are not negative), one more than edges.
        out: float32 as uint32.
    """
    for at in range(0, bits.size, TILE):
        run, into = bits[at : at + TILE], out[at : at + TILE]
        _look_up(run, edges, levels, into)
        for i in range(run.size):
            into[i] = into[i] | (run[i] & SIGN)


@compiled
def keep_blocks(bits, edges, masks, out):
    """Keep the entries of blocks whose mask is all ones, zero those whose mask is 0."""
    for at in range(0, bits.size, TILE):
        run, into = bits[at : at + TILE], out[at : at + TILE]
        _look_up(run, edges, masks, into)
        for i in range(run.size):
            into[i] = into[i] & run[i]


@compiled
def _look_up(bits, edges, values, out):
    """Write the value of each entry's block: the first, plus the steps at the edges passed."""
    magnitudes = np.empty(TILE, np.uint32)
    for i in range(bits.size):
        magnitudes[i] = bits[i] & MAGNITUDE
        out[i] = values[0]
    done = 0
    while done + 4 <= edges.size:  # four at a time halve the memory traffic
        e, f, g, h = edges[done], edges[done + 1], edges[done + 2], edges[done + 3]
        s = np.uint32(values[done + 1] - values[done])
        t = np.uint32(values[done + 2] - values[done + 1])
        u = np.uint32(values[done + 3] - values[done + 2])
        v = np.uint32(values[done + 4] - values[done + 3])
        for i in range(bits.size):
            magnitude = magnitudes[i]
            first = np.uint32(s if magnitude >= e else 0) + np.uint32(t if magnitude >= f else 0)
            last = np.uint32(u if magnitude >= g else 0) + np.uint32(v if magnitude >= h else 0)
            out[i] = np.uint32(out[i] + np.uint32(np.uint32(first) + np.uint32(last)))
        done += 4
    while done < edges.size:
        e, s = edges[done], np.uint32(values[done + 1] - values[done])
        for i in range(bits.size):
            out[i] = np.uint32(out[i] + np.uint32(s if magnitudes[i] >= e else 0))
        done += 1


@compiled
def rank_rows(bits, row, ranks):
    """Write each entry's rank by magnitude in its row, 0 for the smallest; equals in order.

    A stable radix sort, of 11, 11 and 9 bits.
    """
    here, there = np.empty(row, np.uint64), np.empty(row, np.uint64)
    low, middle, high = np.empty(2048, np.int32), np.empty(2048, np.int32), np.empty(512, np.int32)
    digit = np.uint64(2047)
    for at in range(0, bits.size, row):
        low[:] = 0
        middle[:] = 0
        high[:] = 0
        for i in range(row):
            magnitude = np.uint64(bits[at + i] & MAGNITUDE)
            here[i] = (magnitude << np.uint64(32)) | np.uint64(i)
            low[magnitude & digit] += 1
            middle[(magnitude >> np.uint64(11)) & digit] += 1
            high[magnitude >> np.uint64(22)] += 1
        _add_up(low)
        _add_up(middle)
        _add_up(high)
        for i in range(row):
            j = (here[i] >> np.uint64(32)) & digit
            there[low[j]] = here[i]
            low[j] += 1
        for i in range(row):
            j = (there[i] >> np.uint64(43)) & digit
            here[middle[j]] = there[i]
            middle[j] += 1
        for i in range(row):
            j = here[i] >> np.uint64(54)
            ranks[at + np.int64(here[i] & np.uint64(0xFFFFFFFF))] = high[j]
            high[j] += 1


@compiled
def _add_up(counts):
    """Turn counts into the places where each begins."""
    total = 0
    for j in range(counts.size):
        count = counts[j]
        counts[j] = total
        total += count
