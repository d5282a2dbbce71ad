/** Levels of a pyramid, and where a tile's entry lies in tiles.idx. Arithmetic only. */

export const HEADER_BYTES = 16;
export const ENTRY_BYTES = 16;

/**
 * An image in Deep Zoom levels: level 0 has one pixel, the last one all pixels, each half the size of the next,
 * rounded up. Entries of tiles follow each other level by level, row by row.
 */
export class Geometry {
  constructor(width, height, tileSize) {
    this.width = width;
    this.height = height;
    this.tileSize = tileSize;
    this.maxLevel = bitLength(Math.max(width, height) - 1);
    this.levels = [];
    let first = 0;
    for (let level = 0; level <= this.maxLevel; level += 1) {
      // Not by shifts: those have 32 bits.
      const scale = 2 ** (this.maxLevel - level);
      const columns = Math.ceil(Math.ceil(width / scale) / tileSize);
      const rows = Math.ceil(Math.ceil(height / scale) / tileSize);
      this.levels.push({ columns, rows, first });
      first += columns * rows;
    }
    this.tileCount = first;
  }

  /** Return a tile's position among all tiles. Throws RangeError if there is no such tile. */
  position(level, x, y) {
    const { columns, rows, first } = this.levels[level] ?? { columns: 0, rows: 0, first: 0 };
    if (!(x >= 0 && x < columns && y >= 0 && y < rows)) {
      throw new RangeError(`There is no tile ${x}, ${y} on level ${level}.`);
    }
    return first + y * columns + x;
  }
}

function bitLength(number) {
  return number < 1 ? 0 : Math.floor(Math.log2(number)) + 1;
}
