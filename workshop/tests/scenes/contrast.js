// The words of the page's players whose contrast with their background is less than 4.5 to 1, as WCAG counts it.
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  // The canvas knows every way to write a colour.
  const colour = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (element) => {
    const own = colour(getComputedStyle(element).backgroundColor);
    return own[3] === 255 || !element.parentElement ? own : background(element.parentElement);
  };
  const contrast = (element) => {
    const both = [colour(getComputedStyle(element).color), background(element)].map(luminance);
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
  };
  const hasWords = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  return [...document.querySelectorAll(".player *")]
    .filter((element) => hasWords(element) && !element.closest("svg") && contrast(element) < 4.5)
    .map((element) => `${element.className} ${element.textContent}`);
})()
