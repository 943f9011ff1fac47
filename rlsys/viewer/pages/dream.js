// A world model's steps, as graphs, and who takes them: what rlsys/exports/web writes, played as in rlsys/viewer/player.py.
const ARRAYS = { float32: Float32Array, int64: BigInt64Array, int32: Int32Array, uint8: Uint8Array, bool: Uint8Array };
const SHOW_END_S = 1;
const about = JSON.parse(element("world").textContent);
const actions = makeActions(about.keys);

async function unpacked(id) {  // bytes of a part of this page
  const packed = Uint8Array.from(atob(element(id).textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function drawn({ kind, shape }) {
  const numbers = new Float32Array(shape.reduce((product, size) => product * size, 1));
  const uniform = () => Math.floor(Math.random() * 2 ** 24) / 2 ** 24;  // never rounded to 1
  for (let index = 0; index < numbers.length; index++)
    numbers[index] = kind === "uniform" ? uniform()
      : Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return new ort.Tensor("float32", numbers, shape);
}

class World {
  static async load() {
    ort.env.wasm.numThreads = 1;  // more of them need headers that only a server of one's own sends
    ort.env.wasm.wasmBinary = await unpacked("runtime-wasm");
    const loader = new Blob([await unpacked("runtime-loader")], { type: "text/javascript" });
    ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(loader) };
    const world = new World(), weights = await unpacked("weights");
    const open = async (id) => ort.InferenceSession.create(await unpacked(id), {
      executionProviders: ["wasm"], externalData: [{ path: about.weights, data: weights }],
    });
    world.graph = await open("step");
    world.renewing = about.counted && await open("renew");
    world.starts = await unpacked("starts");
    return world;
  }

  begin(number) {
    const start = about.starts[number % about.starts.length];
    const tensor = ({ type, shape, offset, size }) =>
      new ort.Tensor(type, new ARRAYS[type](this.starts.slice(offset, offset + size).buffer), shape);
    const state = Object.fromEntries(Object.entries(start.state).map(([name, part]) => [name, tensor(part)]));
    return { state, picture: tensor(start.picture) };
  }

  async step(state, action) {  // the state that is given stays as it is
    const given = (known) => Object.fromEntries(Object.entries(known).map(([name, part]) => [`state.${name}`, part]));
    const after = (outputs) => Object.fromEntries(Object.keys(state).map((name) => [name, outputs[`next.${name}`]]));
    const isFull = about.counted && Number(state[about.counted].data[0]) > about.most;
    const inputs = given(isFull ? after(await this.renewing.run(given(state))) : state);
    inputs.action = new ort.Tensor("float32", Float32Array.from(action), about.action);
    about.draws.forEach((draw, index) => { inputs[`draw.${index}`] = drawn(draw); });
    const outputs = await this.graph.run(inputs), { picture, reward, over } = outputs;
    return { state: after(outputs), picture, reward: reward.data[0], over: Boolean(over.data[0]) };
  }
}

function show({ data, dims }) {  // [1, H, W] or [1, C, H, W], bytes
  const [height, width] = dims.slice(-2), size = height * width, planes = data.length / size;
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < size; pixel++) {
    for (let plane = 0; plane < 3; plane++) image.data[4 * pixel + plane] = data[pixel + (planes === 3 ? plane * size : 0)];
    image.data[4 * pixel + 3] = 255;
  }
  canvasOf(width, height).putImageData(image, 0, 0);
}

const pressed = new Set(), tapped = new Set();
let world = null, state = null, waits = true, pause = 0, start = 0, steps = 0, total = 0, last = 0, over = false, action = actions.noop();
const ready = () => world !== null;

function press(key, isDown) {
  if (!isDown) { pressed.delete(key); return; }
  pressed.add(key);
  tapped.add(key);
  if (!ready()) return;
  if (key === "c") waits = !waits;
  if (key === "x") begin(start);
  if (key === "r") begin(start + 1);
  tellStatus();
}

function begin(number) {
  start = number;
  actions.restart();
  action = actions.noop();
  steps = total = last = pause = 0;
  over = false;
  const begun = world.begin(number);
  state = begun.state;
  show(begun.picture);
  tellStatus();
}

function tellStatus() {
  const number = (value) => String(Math.round(value * 1000) / 1000);
  const parts = [waits ? "WAIT" : "real time", `step ${steps}`, `reward ${number(last)}`, `sum ${number(total)}`];
  showStatus([...parts, actions.show(action), over ? "episode over" : ""].filter(Boolean).join(" | "));
  element("picture").parentElement.classList.toggle("over", over);
}

async function advance(chosen) {  // one step of the dream, shown
  const before = state, outcome = await world.step(before, chosen);
  if (state !== before) return;  // it was begun anew meanwhile
  state = outcome.state;
  action = chosen;
  steps += 1;
  last = outcome.reward;
  total += last;
  over = outcome.over;
  pause = over ? Math.round(SHOW_END_S * about.fps) : 0;
  show(outcome.picture);
  tellStatus();
}

async function tick() {  // 1 / fps seconds pass
  const keys = new Set([...pressed, ...tapped]);
  tapped.clear();
  if (pause) { pause -= 1; return; }
  const wanted = actions.action(keys);
  if (waits && wanted === null && !keys.has("n")) return;
  if (over) begin(start + 1);
  else await advance(wanted ?? actions.noop());
}

async function play() {
  for (;;) {
    const due = performance.now() + 1000 / about.fps;
    if (!document.hidden) await tick();
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
  }
}

async function main() {
  element("title").textContent = document.title = about.title;
  showLegend(about.legend);
  world = await World.load();
  begin(Math.floor(Math.random() * about.starts.length));
  veil(document.hasFocus() ? "" : "click to play");
  await play();
}

main().catch((error) => veil(`This browser cannot dream it: ${error.message ?? error}`));
