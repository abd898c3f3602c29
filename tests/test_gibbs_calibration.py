"""Whether the Gibbs sampler draws from the posterior of its own prior: what was drawn from the prior, with ratings from it, must stay so.

Parameters and ratings that are drawn together are a draw of their joint distribution; a sweep that keeps the posterior keeps it, so
that what is known of it a priori (a standardized weight is normal, so is a standardized residual along any direction, ...) holds
after the sweep as before (Geweke, 2004, with chains of their own). This asks nothing of how fast a chain mixes. The ranks of what
was drawn among the draws of a long chain (Talts and others, 2018) ask for it, and see less; they are tested as well.
"""

import numpy as np
import pytest

from .gibbs_reference import surprise
from .gibbs_worlds import OrdinalWorld, World, surprises

#: deviations of a chi-square from what it should be: of 80 the most is 2.5 to be expected, 4.2 once in 500 such tests
FAR = 4.2


@pytest.mark.parametrize(
    ("n_ratings", "n_blocks", "n_days", "n_factors"),
    [(5, (0, 0), 0, 1), (60, (2, 0), 0, 1), (60, (1, 1), 3, 2)],
    ids=["few ratings", "two blocks of users", "blocks of both, and days"],
)
def test_what_is_drawn_from_the_prior_stays_so(n_ratings, n_blocks, n_days, n_factors):
    """Few ratings leave the priors of noise and w0 their weight."""
    found = surprises(World(n_ratings, n_blocks, n_days, n_factors), 1500, 3)
    assert not {name: far for name, far in found.items() if abs(far) > FAR}


@pytest.mark.parametrize(("n_ratings", "n_blocks"), [(4, (0, 0)), (40, (1, 0))], ids=["few ratings", "a block"])
def test_what_is_drawn_from_the_prior_stays_so_on_a_grid(n_ratings, n_blocks):
    """Cut points move slowly where few ratings lie near them: more sweeps."""
    found = surprises(OrdinalWorld(n_ratings, n_blocks), 1500, 8)
    assert not {name: far for name, far in found.items() if abs(far) > FAR}


class Identified(World):
    """Of ratings that say something of what is looked at."""

    def identified(self):
        """What ratings say something of."""
        sampler, users, items = self.sampler, self.groups[0, 0].weights, self.groups[1, 0].weights
        left = self.rating - self.predictions()
        other = sampler.constant + users[0, -1] + items[0, -1] + users[1, -1] * items[1, -1]
        likelihood = len(left) * np.log(sampler.alpha) - sampler.alpha * (left @ left)
        rated = self.rating[0] - left[0]
        return np.array([sampler.constant, sampler.alpha, rated, other, users[0, 0], likelihood])


def ranks(n_worlds, n_draws, thin):
    """Of what was drawn from the prior, among the draws of a chain that are far apart, by name: within 0 .. n_draws.

    Ratings that are spread widely are left out, which changes no rank's distribution, since ratings alone say so.
    """
    world, found, seed = Identified(n_ratings=40), [], 0
    while len(found) < n_worlds:
        seed += 1
        world.draw(seed)
        if world.rating.std() > 5:
            continue
        truth, below = world.identified(), 0
        for number in range(1, thin * (n_draws + 1) + 1):
            world.sampler.sweep(number, lambda part: None)
            if number % thin == 0 and number > thin:
                below = below + (world.identified() < truth)
        found.append(below)
    return np.array(found)


@pytest.mark.slow
def test_ranks_among_the_draws_of_a_chain_are_uniform():
    """w0, the noise, a prediction of a rated pair and of another, a user's bias, the likelihood."""
    found = ranks(120, 19, 40)
    far = [surprise((column + 0.5) / 20) for column in found.T]
    assert max(np.abs(far)) < 4
