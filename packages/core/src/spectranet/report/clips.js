// Clips play by themselves while they are in sight; a click stops one. Without this they have the browser's buttons.
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const play = (clip) => clip.play().catch(() => { clip.controls = true; });
const watch = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) isIntersecting ? play(target) : target.pause();
});
if (!still) for (const clip of document.querySelectorAll("video")) {
  clip.controls = false;
  clip.title = "click to stop or play";
  clip.addEventListener("click", () => { clip.paused ? play(clip) : clip.pause(); });
  watch.observe(clip);
}
