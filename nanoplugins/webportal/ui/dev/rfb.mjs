// A screen for the invented server: RFB 3.8 without authentication, one picture with moving bars.
const WIDTH = 640;
const HEIGHT = 400;

export function serveScreen(socket) {
  let step = 0;
  let buffer = Buffer.alloc(0);
  let tick = 0;
  socket.send(Buffer.from("RFB 003.008\n"));
  socket.on("message", (data) => {
    buffer = Buffer.concat([buffer, data]);
    if (step === 0 && buffer.length >= 12) {
      buffer = buffer.subarray(12);
      step = 1;
      socket.send(Buffer.from([1, 1]));
    }
    if (step === 1 && buffer.length >= 1) {
      buffer = buffer.subarray(1);
      step = 2;
      socket.send(Buffer.alloc(4));
    }
    if (step === 2 && buffer.length >= 1) {
      buffer = buffer.subarray(1);
      step = 3;
      socket.send(serverInit());
      setTimeout(() => socket.send(picture(tick++)), 50);
    }
  });
  const timer = setInterval(() => step === 3 && socket.readyState === 1 && socket.send(picture(tick++)), 1000);
  socket.on("close", () => clearInterval(timer));
}

function serverInit() {
  const name = Buffer.from("demo");
  const head = Buffer.alloc(24);
  head.writeUInt16BE(WIDTH, 0);
  head.writeUInt16BE(HEIGHT, 2);
  head.set([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0], 4);
  head.writeUInt32BE(name.length, 20);
  return Buffer.concat([head, name]);
}

function picture(tick) {
  const head = Buffer.alloc(16);
  head.writeUInt16BE(1, 2);
  head.writeUInt16BE(WIDTH, 8);
  head.writeUInt16BE(HEIGHT, 10);
  const pixels = Buffer.alloc(WIDTH * HEIGHT * 4);
  for (let y = 0; y < HEIGHT; y += 1) {
    for (let x = 0; x < WIDTH; x += 1) {
      const isBar = Math.floor((x + tick * 8) / 40) % 4 === 0 && y > 320;
      pixels.writeUInt32LE(isBar ? 0x2ea597ff : (Math.floor(y / 4) << 8) | 0x101418, (y * WIDTH + x) * 4);
    }
  }
  return Buffer.concat([head, pixels]);
}
