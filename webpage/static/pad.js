// A square to point into: calls change(x, y), both from 0 to 1, right and down.
const STEP = 0.05;

export class Pad {
  constructor(element, change) {
    this.element = element;
    this.change = change;
    this.x = this.y = 0.5;
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      this.point(event);
    });
    element.addEventListener("pointermove", (event) => event.buttons && this.point(event));
    element.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      this.move(this.x + step[0] * STEP, this.y + step[1] * STEP);
    });
  }

  point(event) {
    const box = this.element.getBoundingClientRect();
    this.move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  }

  move(x, y) {
    [this.x, this.y] = [x, y].map((value) => Math.min(Math.max(value, 0), 1));
    this.element.style.setProperty("--x", this.x);
    this.element.style.setProperty("--y", this.y);
    this.change(this.x, this.y);
  }
}
