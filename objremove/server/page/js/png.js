// @ts-check
/**
 * Writes black-and-white PNG files, one bit a pixel, in stripes: a mask for a photo of any size needs little memory, and no canvas
 * as large as the photo, which phones refuse. PNG specification, third edition: chunks in 5, filtering in 9, zlib in 10.
 */

const STRIPE = 256; // rows drawn at a time
const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/**
 * @param {number} width
 * @param {number} height
 * @param {[number, number]} reach  rows outside it are black, and not drawn
 * @param {(context: OffscreenCanvasRenderingContext2D) => void} paint  draws in photo coordinates; opaque becomes white
 * @returns {Promise<Blob>}
 */
export async function encodeBitmap(width, height, [top, bottom], paint) {
  const canvas = new OffscreenCanvas(width, Math.min(STRIPE, height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("this browser gives no canvas");
  const packer = new CompressionStream("deflate");
  const packed = new Response(packer.readable).arrayBuffer();
  const writer = packer.writable.getWriter();
  for (let y = 0; y < height; y += STRIPE) {
    const rows = Math.min(STRIPE, height - y);
    if (y + rows <= top || y >= bottom) await writer.write(new Uint8Array(rows * (1 + Math.ceil(width / 8))));
    else {
      context.setTransform(1, 0, 0, 1, 0, -y);
      context.clearRect(0, y, width, STRIPE);
      paint(context);
      await writer.write(scanlines(context.getImageData(0, 0, width, rows)));
    }
  }
  await writer.close();
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 1); // bit depth; colour type, compression, filter and interlace stay 0: greyscale
  const parts = [
    new Uint8Array(SIGNATURE),
    chunk("IHDR", new Uint8Array(header.buffer)),
    chunk("IDAT", new Uint8Array(await packed)),
    chunk("IEND", new Uint8Array()),
  ];
  return new Blob(parts, { type: "image/png" });
}

/**
 * Rows of bits, most significant first, each after a byte for "no filter".
 * @param {ImageData} image
 * @returns {Uint8Array<ArrayBuffer>}
 */
function scanlines({ data, width, height }) {
  const stride = 1 + Math.ceil(width / 8);
  const rows = new Uint8Array(stride * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (data[4 * (y * width + x) + 3] >= 128) rows[y * stride + 1 + (x >> 3)] |= 0x80 >> (x & 7);
    }
  }
  return rows;
}

/**
 * @param {string} type
 * @param {Uint8Array} data
 * @returns {Uint8Array<ArrayBuffer>}
 */
function chunk(type, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, crc32(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

/** @param {Uint8Array} bytes */
function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
