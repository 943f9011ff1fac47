"""What people look at: episodes as films, search trees and plots of a run."""
