//! Convolutional autoencoder: training, scoring, and the Keras file format.
